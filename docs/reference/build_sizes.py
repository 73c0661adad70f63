"""Fills the table of docs/concepts/size.md: memory of a step of the 0.6 B model, by the formulas that plans use.

    python docs/reference/build_sizes.py            rewrite the table
    python docs/reference/build_sizes.py --check    exit 1 when it is stale
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from asrcore.checkpoint import CheckpointInfo
from asrcore.memory import Load, Network, training_memory
from asrcore.recipe.estimates import A100_ARITHMETIC_PACE, GPU_HEADROOM, STEP_OVERHEAD_SECONDS
from asrcore.recipe.surface import moves, work_share

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "concepts" / "size.md"
BEGIN, END = "<!-- sizes: begin -->", "<!-- sizes: end -->"
PARAMETERS = 637_997_088
SURFACES = ("full", "lora:16", "top_layers:4", "decoder_joint", "prompt")
BATCH_SECONDS = (10, 20, 50, 100, 200, 400)
UTTERANCE_SECONDS, LABELS_A_SECOND = 10.0, 3.0
GPUS = (16, 24, 32, 40, 48, 80)


def published() -> CheckpointInfo:
    """The published checkpoint's shape (model card of nvidia/nemotron-3.5-asr-streaming-0.6b)."""
    return CheckpointInfo(path="", sha256="", size_bytes=4 * PARAMETERS, target_class="EncDecRNNTBPEModelWithPrompt", prompt_dictionary={}, num_prompts=128,
                          att_contexts=((56, 0),), sample_rate=16_000, vocabulary_size=13_087, d_model=1024, n_layers=24)  # fmt: skip


def needed_gb(surface: str, batch_seconds: float, *, bf16: bool) -> float:
    """Memory of a step on utterances of 10 s: on a GPU what its allocator holds, on a CPU the whole process."""
    base = published()
    load = Load(max(1, round(batch_seconds / UTTERANCE_SECONDS)), UTTERANCE_SECONDS, LABELS_A_SECOND * UTTERANCE_SECONDS)
    found = training_memory(Network(PARAMETERS, base.n_layers, base.d_model, base.vocabulary_size + 1), moves(base, surface), load, bf16=bf16)
    return (found.training if bf16 else found.peak) / 1e9


def pace(surface: str, batch_seconds: float) -> float:
    """Audio seconds a second on an A100: the one published figure, in proportion to the arithmetic, and what a step costs besides."""
    return batch_seconds / (batch_seconds * work_share(published(), surface) / A100_ARITHMETIC_PACE + STEP_OVERHEAD_SECONDS["cuda"])


def table() -> str:
    lines: list[str] = []
    for bf16, where in ((True, "GPU, bf16: GB that the allocator holds"), (False, "CPU, fp32: GB of the process")):
        lines += [f"**{where}**", "", f"| seconds of audio a batch | {' | '.join(SURFACES)} |", f"| --- |{' --- |' * len(SURFACES)}"]
        lines += [f"| {seconds} | {' | '.join(f'{needed_gb(surface, seconds, bf16=bf16):.1f}' for surface in SURFACES)} |" for seconds in BATCH_SECONDS] + [""]
    lines += [f"**Most seconds of audio a batch that {GPU_HEADROOM:.0%} of a GPU holds, of those in the table**", "",
              f"| GPU | {' | '.join(SURFACES)} |", f"| --- |{' --- |' * len(SURFACES)}"]  # fmt: skip
    for gb in GPUS:
        fits = [max((s for s in BATCH_SECONDS if needed_gb(surface, s, bf16=True) <= GPU_HEADROOM * gb), default=0) for surface in SURFACES]
        lines.append(f"| {gb} GB | {' | '.join(str(most or '-') for most in fits)} |")
    lines += ["", "**Speed**", "", f"| | {' | '.join(SURFACES)} |", f"| --- |{' --- |' * len(SURFACES)}",
              f"| arithmetic of a step over that of a full one | {' | '.join(f'{work_share(published(), surface):.2f}' for surface in SURFACES)} |",
              *(f"| audio hours an hour, A100, {seconds} s a batch | {' | '.join(f'{pace(surface, seconds):.0f}' for surface in SURFACES)} |" for seconds in BATCH_SECONDS)]  # fmt: skip
    return "\n".join(lines)


def render(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    fresh = render(page)
    if "--check" in sys.argv:
        return int(fresh != page)
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
