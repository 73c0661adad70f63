"""Score another system's transcripts of a manifest with the same scorer, so that it can be compared with an eval of ours.

Use it for a peer (Whisper, a vendor, the model in production) whose output lies in a file: JSON lines with id and pred_text, Kaldi text, or
sclite trn, one hypothesis for every row of the manifest. Do not use it for a checkpoint that asrtune can decode (run_streaming_eval does that,
and knows latency and speed). It returns an eval cell whose id compare_models and make_report take; name the att_context_size and prompt mode of
the eval it will stand beside, since only evals under one condition compare. Cost: seconds, no model is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from asrcore import io
from asrcore.errors import Problem, clean_text
from asrcore.jobs import Ledger
from asrcore.locales import latency_ms
from asrcore.manifest import kept_rows, manifest_ref
from asrcore.requests import AttContext, CheckpointRef, EvalCell, Hypothesis, PromptMode
from asrcore.results import Artifact, Frozen, NextAction, Result
from asrcore.score.cell import score_hypotheses
from asrcore.score.hypotheses import write_hypotheses
from asrcore.score.normalise import NORMALISER
from asrcore.score.peers import read_peer
from asrcore.workspace import Workspace

ENGINE = "peer/1"
_DIGIT = re.compile(r"\d")


class Input(Frozen):
    manifest: str = Field(min_length=1, max_length=1000, description="The manifest that the other system transcribed.")
    hypotheses: str = Field(
        min_length=1, max_length=1000, description="Its transcripts, below a data root."
    )
    system: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$", description="Name of the system in tables, for example whisper-base."
    )
    att_context_size: AttContext = Field((56, 0), description="That of the eval it stands beside.")
    prompt_mode: PromptMode = Field("langID", description="That of the eval it stands beside.")
    slice_by: tuple[str, ...] = Field((), max_length=8, description="Manifest fields that split the score.")
    terms: tuple[str, ...] = Field((), max_length=1000, description="Words and names to report recall and precision for.")


Output = EvalCell


def run(request: Input, ws: Workspace) -> Result[Output]:
    manifest, file = ws.resolve_data(request.manifest), ws.resolve_data(request.hypotheses)
    wanted = manifest_ref(manifest)
    rows = read_peer(file, kept_rows(manifest))
    peer = CheckpointRef(name=request.system, path=str(file), sha256=io.sha256_file(file))
    scores = score_hypotheses(rows, request.prompt_mode, request.slice_by, request.terms)
    key = [peer.sha256, wanted.sha256, request.model_dump(mode="json", exclude={"manifest", "hypotheses"}), ENGINE, NORMALISER]
    eval_id = "eval_" + io.sha256_json(key)[:12]
    kept = ws.folder("evals", "peers") / "hyps" / f"{eval_id}.jsonl"
    write_hypotheses(kept, rows)
    cell = EvalCell(
        **dict(scores), eval_id=eval_id, checkpoint=peer, set=wanted, att_context=request.att_context_size,
        latency_ms=latency_ms(request.att_context_size), prompt_mode=request.prompt_mode, rtfx=0.0, engine=ENGINE, batch_size=0,
        hypotheses=str(kept), versions={},
    )  # fmt: skip
    with Ledger.open(ws) as ledger:
        ledger.put("eval", eval_id, cell)
    low, high = cell.normalised.ci95 or (cell.normalised.percent, cell.normalised.percent)
    unit = "CER" if cell.normalised.unit == "character" else "WER"
    return Result(
        summary=f"{request.system} on {clean_text(wanted.name, 80)}: {unit} {cell.normalised.percent:.2f} % (95 % {low:.2f} to {high:.2f}, "
        f"{cell.normalised.words:,} {cell.normalised.unit}s); {eval_id}.",
        data=cell, warnings=_warnings(rows), artifacts=(Artifact(name=f"{request.system} hypotheses", kind="hypotheses", path=str(kept)),),
        next_actions=(NextAction(tool="list_objects", arguments={"kind": "eval"}, why="Find the eval of ours to put beside it in compare_models."),),
    )  # fmt: skip


def _warnings(rows: Sequence[Hypothesis]) -> tuple[Problem, ...]:
    if not any(_DIGIT.search(row.text) and not _DIGIT.search(row.reference) for row in rows):
        return ()
    return (Problem(code="digits_in_hypotheses", severity="warning", message="the transcripts hold digits where the references do not, and the scorer "
                    "does not read numbers out: they count as errors.", fix="let the other system write numbers as words, or say so beside its rate"),)  # fmt: skip
