"""Child process `python -m asrcore.model.export request.json`: writes a deployable artefact and proves that it says the same words.

The gate: the exported file is opened afresh and decodes a smoke set in streaming mode at batch size 1, at every asked att_context_size;
every transcript must equal the source's. Before that the model must say something (>= 3 tokens a clip on average) and change its output
with the prompt slot, else an identity check proves nothing. A failed gate leaves no artefact.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict

from asrcore import io
from asrcore.errors import ToolFault
from asrcore.jobs.child import Reporter, main
from asrcore.manifest import kept_rows
from asrcore.model.decode import row_slots, stream_items
from asrcore.model.restore import restore
from asrcore.model.stream import Decoded, StreamingDecoder, StreamItem
from asrcore.requests import ExportRequest, ExportResult

MIN_TOKENS_PER_CLIP = 3


def run(request: ExportRequest, reporter: Reporter) -> ExportResult:
    out = Path(request.out)
    source = Path(request.checkpoint.path)
    io.require_disk(out.parent, 3 * source.stat().st_size)
    reporter.event("export", 0, 3, "decode with the source checkpoint")
    model = restore(source)
    items, other_slot = smoke_items(model, request)
    expected = transcripts(model, items, request.att_contexts)
    tokens = sum(len(d.tokens) for d in expected)
    changed = prompt_changes_output(model, items, other_slot, request.att_contexts[0], expected)
    if tokens < MIN_TOKENS_PER_CLIP * len(expected) or not changed:
        raise ToolFault(
            "export_unprovable",
            f"the model emits {tokens} tokens on {len(expected)} smoke decodes and {'reacts' if changed else 'does not react'} to the prompt; "
            "identity of such output proves nothing.", next_step="export a checkpoint that transcribes the smoke set (run_streaming_eval shows its WER).",
        )  # fmt: skip
    with io.atomic_folder(out) as part:
        reporter.event("export", 1, 3, "write the artefact")
        target = part / "model.nemo"
        with open_dict(model.cfg):
            model.cfg.asrtune = OmegaConf.create({"provenance": request.provenance, "source_sha256": request.checkpoint.sha256})
        model.save_to(str(target))
        reporter.event("export", 2, 3, "reload and compare")
        reopened = restore(target)
        observed = transcripts(reopened, items, request.att_contexts)
        identical = sum(a.tokens == b.tokens for a, b in zip(expected, observed, strict=True))
        if identical != len(expected):
            raise ToolFault(
                "export_not_identical", f"{len(expected) - identical} of {len(expected)} transcripts differ after export; nothing was written.",
                next_step="report this with the checkpoint's provenance; do not deploy it.",
            )  # fmt: skip
        digest = io.sha256_file(target)
        result = ExportResult(
            target=request.target, path=str(out / "model.nemo"), sha256=digest, compared_utterances=len(expected), compared_tokens=tokens,
            identical=identical, prompt_changes_output=changed,
        )  # fmt: skip
        io.write_json(part / "export.json", {"result": result.model_dump(mode="json"), "provenance": request.provenance})
        io.write_text(part / "SHA256SUMS", f"{digest}  model.nemo\n")
    reporter.event("export", 3, 3, "done")
    return result


def smoke_items(model: Any, request: ExportRequest) -> tuple[list[StreamItem], int]:
    """The first utterances of the smoke manifest with their own slots, and one slot that none of them uses."""
    manifest = Path(request.smoke.path)
    rows = kept_rows(manifest)[: request.smoke_utterances]
    slots = row_slots(model, rows, manifest, "langID")
    return stream_items(rows, slots), next(slot for slot in range(model.num_prompts) if slot not in slots)


def transcripts(model: Any, items: list[StreamItem], contexts: tuple[tuple[int, int], ...]) -> list[Decoded]:
    """Batch-1 transcripts of all items at every context, in order."""
    return [decoded for context in contexts for decoded in StreamingDecoder(model, context, batch_size=1).decode(items)]


def prompt_changes_output(model: Any, items: list[StreamItem], slot: int, context: tuple[int, int], expected: list[Decoded]) -> bool:
    """True when another prompt slot changes at least one transcript."""
    other = [StreamItem(item.key, item.audio, slot, item.seconds) for item in items]
    observed = StreamingDecoder(model, context, batch_size=1).decode(other)
    return any(a.tokens != b.tokens for a, b in zip(observed, expected, strict=False))


if __name__ == "__main__":
    raise SystemExit(main(ExportRequest, run))
