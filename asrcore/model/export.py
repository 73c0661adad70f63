"""Child process `python -m asrcore.model.export request.json`: writes a deployable artefact and proves that it says the same words.

The gate: the finished files are opened afresh by the library that will run them and decode a smoke set at batch size 1, at every asked
att_context_size, with each utterance's own prompt and in `auto`; every transcript must equal the checkpoint's, and weights, settings or tensors with
it. Before that the model must say something (>= 3 tokens a clip on average) and change its output with the prompt slot, else an identity
check proves nothing. A failed gate leaves no artefact.

    nemo           `export_nemo`
    transformers   `export_transformers`
    onnx           `export_onnx`, `export_onnx_gate`
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asrcore import io
from asrcore.checkpoint import require_known_contexts
from asrcore.errors import EnvironmentFault
from asrcore.export_requests import ExportCheck
from asrcore.fingerprint import SUMS, check_ref, require_unchanged
from asrcore.jobs.child import Reporter, main
from asrcore.model import export_nemo
from asrcore.model.export_card import card
from asrcore.model.export_recipes import recipes
from asrcore.model.export_sherpa import MODULE, folder_name
from asrcore.model.export_smoke import Smoke, prepare
from asrcore.model.restore import prompt_slots, restore
from asrcore.requests import ExportRequest, ExportResult

STAGES = 4


def run(request: ExportRequest, reporter: Reporter) -> ExportResult:
    """Raises `fingerprint_mismatch`, `disk_full`, `export_extra_missing`, `att_context_untrained`, and what `prepare`, `write` and `verify` raise."""
    out, source = Path(request.out), Path(request.checkpoint.path)
    require_unchanged(check_ref(request.checkpoint), next_step="put the original checkpoint back and call export_model again.")
    require_packages(request)
    require_known_contexts(source, request.att_contexts)
    io.require_disk(out.parent, needed_bytes(source.stat().st_size, request))
    reporter.event("export", 0, STAGES, "decode with the source checkpoint")
    model = restore(source)
    smoke = prepare(model, request)
    with io.atomic_folder(out) as part:
        reporter.event("export", 1, STAGES, "write the artefact")
        write(model, part, request)
        reporter.event("export", 2, STAGES, "reload and compare")
        checks, notes = verify(model, part, smoke, request)
        reporter.event("export", 3, STAGES, "model card and checksums")
        finished = result_of(request, part, smoke, checks, notes)
        io.write_text(part / "README.md", card(request, finished, prompt_slots(model)))
        for path, text in recipes(request.target, chunk_metadata(model, request), request.checkpoint.sha256).items():
            io.write_text(part / path, text)
        io.write_json(part / "export.json", {"result": finished.model_dump(mode="json", exclude={"sha256"}), "provenance": request.provenance})
        sums = write_sums(part)
        if request.target != "nemo":
            finished = finished.model_copy(update={"sha256": sums})
    reporter.event("export", STAGES, STAGES, "done")
    return finished


def write(model: Any, part: Path, request: ExportRequest) -> None:
    """The target's files below `part`."""
    match request.target:
        case "nemo":
            export_nemo.write(model, part, request)
        case "transformers":
            from asrcore.model import export_transformers

            export_transformers.write(model, part, request)
        case "onnx":
            from asrcore.model import export_onnx

            export_onnx.write(model, part, request)


def verify(model: Any, part: Path, smoke: Smoke, request: ExportRequest) -> tuple[tuple[ExportCheck, ...], tuple[str, ...]]:
    """The target's gate: its checks, and notes for the result. Raises `export_not_identical`, and for onnx what its gate raises besides."""
    match request.target:
        case "nemo":
            return export_nemo.verify(model, part, smoke), ()
        case "transformers":
            from asrcore.model import export_transformers

            return export_transformers.verify(model, part, smoke), ()
        case "onnx":
            from asrcore.model import export_onnx_gate

            return export_onnx_gate.verify(model, part, smoke, request)


def chunk_metadata(model: Any, request: ExportRequest) -> dict[str, dict[str, str]]:
    """Chunk folder -> what its encoder says of itself; only onnx has them."""
    if request.target != "onnx":
        return {}
    from asrcore.model import export_onnx

    found: dict[str, dict[str, str]] = {}
    for context in request.att_contexts:
        model.encoder.set_default_att_context_size(list(context))
        found[folder_name(context)] = export_onnx.metadata(model, context, request)
    return found


def needed_bytes(checkpoint: int, request: ExportRequest) -> int:
    """Free disk that the target needs at most while it is made, from the size of the `.nemo` (its weights are float32, and so are ours)."""
    if request.target != "onnx":
        return 3 * checkpoint
    # One encoder a chunk size, a scratch copy of the one being written, and its data file again while it is saved; int8 adds about a quarter.
    return int(checkpoint * ((1.3 if request.int8 else 1.0) * len(request.att_contexts) + 2))


def require_packages(request: ExportRequest) -> None:
    """Raises `export_extra_missing` before anything heavy is done."""
    needed = ("onnx", "onnxruntime", *([MODULE] if request.sherpa_utterances else [])) if request.target == "onnx" else ()
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentFault("export_extra_missing", f"the target onnx needs {' and '.join(missing)}, which are not installed.",
                               next_step='pip install "asrtune[export]", then call export_model again.')  # fmt: skip


def result_of(request: ExportRequest, part: Path, smoke: Smoke, checks: Sequence[ExportCheck], notes: Sequence[str]) -> ExportResult:
    """The result; all transcripts are identical here, or `verify` had raised."""
    nemo, out = part / export_nemo.FILE, Path(request.out)
    return ExportResult(
        target=request.target, path=str(out / export_nemo.FILE if request.target == "nemo" else out), sha256=io.sha256_file(nemo) if nemo.exists() else "",
        compared_utterances=len(smoke.expected), compared_tokens=smoke.tokens, identical=len(smoke.expected), prompt_changes_output=smoke.prompt_changes_output,
        att_contexts=request.att_contexts, locales=smoke.locales, prompt_modes=("langID", "auto"), checks=tuple(checks), notes=tuple(notes),
    )  # fmt: skip


def write_sums(part: Path) -> str:
    """SHA256SUMS over all files, in the form that `sha256sum -c` reads; returns its own digest."""
    files = sorted(path for path in part.rglob("*") if path.is_file())
    io.write_text(part / SUMS, "".join(f"{io.sha256_file(path)}  {path.relative_to(part).as_posix()}\n" for path in files))
    return io.sha256_file(part / SUMS)


if __name__ == "__main__":
    raise SystemExit(main(ExportRequest, run))
