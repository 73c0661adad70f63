"""From the ledger to the facts of a model card: where a checkpoint comes from, what it heard, how it scored, which guards were kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asrcore.checkpoint import embedded_base
from asrcore.errors import AsrtuneError, clean_text
from asrcore.export_requests import CardData, CardFacts, CardGuard, CardRate, CardScore
from asrcore.io import sha256_file, sha256_json
from asrcore.jobs.ledger import ALL_ROWS, Ledger
from asrcore.jobs.store import train_request
from asrcore.requests import AddLocaleResult, Blend, CheckpointRef, EvalCell, TrainRequest, TrainResult, Wer
from asrcore.score.hypotheses import read_hypotheses
from asrcore.score.replay import ReplayReport

_PEER = "peer/"
"""How the engine of an eval begins that another system's transcripts were scored for."""


def card_facts(ledger: Ledger, checkpoint: CheckpointRef) -> CardFacts:
    """Everything the ledger holds about `checkpoint`. One that was made elsewhere has its own name as base and no known origin."""
    chain = _Chain.behind(ledger, checkpoint)
    cells = [EvalCell.model_validate(row.data) for row in ledger.list("eval", ALL_ROWS)]
    return CardFacts(
        base_name=clean_text(chain.base.name, 100), base_sha256=chain.base.sha256, synthetic_base=chain.base.sha256 == _embedded_sha256(),
        origin_known=chain.known, steps=tuple(reversed(chain.steps)), runs=tuple(reversed(chain.runs)), data=tuple(chain.data),
        scores=_scores(cells, checkpoint.sha256, chain.base.sha256, _roles(ledger)), guards=_guards(ledger, checkpoint.sha256),
    )  # fmt: skip


def provenance(facts: CardFacts, checkpoint: CheckpointRef) -> dict[str, Any]:
    """What an artefact says of its own origin: checkpoint, base, runs, digests of the data that they drew, evals. Plain JSON values."""
    return {
        "checkpoint": clean_text(checkpoint.name, 100), "sha256": checkpoint.sha256, "base": facts.base_name, "base_sha256": facts.base_sha256,
        "origin_known": facts.origin_known, "runs": list(facts.runs),
        "data": [{"run": one.run_id, "source": one.source, "role": one.role, "sha256": one.sha256} for one in facts.data],
        "evals": [one.eval_id for one in facts.scores],
    }  # fmt: skip


@dataclass
class _Chain:
    """The way back from a checkpoint to its base. `steps`, `runs` and `data` are newest first."""

    base: CheckpointRef
    known: bool
    steps: list[str] = field(default_factory=list[str])
    runs: list[str] = field(default_factory=list[str])
    data: list[CardData] = field(default_factory=list[CardData])

    @classmethod
    def behind(cls, ledger: Ledger, checkpoint: CheckpointRef) -> _Chain:
        runs = {run.best.sha256: run for run in (TrainResult.model_validate(row.data) for row in ledger.list("run", ALL_ROWS))}
        blends = {blend.checkpoint.sha256: blend for blend in (Blend.model_validate(row.data) for row in ledger.list("blend", ALL_ROWS))}
        bases = {made.checkpoint.sha256: made for made in (AddLocaleResult.model_validate(row.data) for row in ledger.list("base", ALL_ROWS))}
        chain, seen = cls(checkpoint, known=False), set[str]()
        while chain.base.sha256 not in seen:
            seen.add(chain.base.sha256)
            if (blend := blends.get(chain.base.sha256)) is not None:
                tuned = ", ".join(clean_text(one.name, 40) for one in blend.tuned)
                for other in reversed(blend.tuned[1:]):  # the way back goes on through the first of them
                    if (run := runs.get(other.sha256)) is not None and (request := train_request(ledger, run.run_id)) is not None:
                        chain._drew(run, request)
                chain._back(blend.tuned[0], f"Weights interpolated: base + {blend.alpha:g} x (tuned - base), tuned being {tuned}.")
            elif (run := runs.get(chain.base.sha256)) is not None:
                if (request := train_request(ledger, run.run_id)) is None:
                    chain.known = False
                    break
                chain._back(request.base, f"Fine-tuned in {run.run_id}: {run.steps} steps, surface {request.surface}, best candidate at step {run.best_step}.")
                chain._drew(run, request)
            elif (made := bases.get(chain.base.sha256)) is not None:
                way = f"a slot of its own ({made.slot})" if made.way == "own_slot" else f"the slot of {made.neighbour}, under its own tag"
                chain._back(made.base, f"Locale {made.locale} added in {way}; start: {made.neighbour}.")
        return chain

    def _drew(self, run: TrainResult, request: TrainRequest) -> None:
        self.runs.append(run.run_id)
        digests = {source.name: sha256_json([shard.sha256 for shard in source.shards]) for source in request.shards.sources}
        self.data += [
            CardData(source=clean_text(one.source, 60), run_id=run.run_id, sha256=digests.get(one.source, ""), role=one.role, utterances=one.utterances,
                     hours=round(one.seconds / 3600, 2), locales=tuple(sorted(one.seconds_by_locale))) for one in run.consumed
        ]  # fmt: skip

    def _back(self, before: CheckpointRef, step: str) -> None:
        self.base, self.known = before, True
        self.steps.append(step)


def _scores(cells: Sequence[EvalCell], checkpoint: str, base: str, roles: Mapping[str, str]) -> tuple[CardScore, ...]:
    """One entry a condition, the newest eval of it; sorted by role, set, latency and mode."""
    newest_first = [cell for cell in cells if not cell.engine.startswith(_PEER)]
    of_base = {_condition(cell): cell for cell in reversed(newest_first) if cell.checkpoint.sha256 == base}
    own = {_condition(cell): cell for cell in reversed(newest_first) if cell.checkpoint.sha256 == checkpoint}
    found: list[CardScore] = []
    for condition, cell in own.items():
        before = of_base.get(condition) if base != checkpoint else None
        found.append(CardScore(
            eval_id=cell.eval_id, set_name=clean_text(cell.set.name, 60), role=roles.get(cell.set.sha256, ""), locales=cell.locales,
            att_context=cell.att_context, prompt_mode=cell.prompt_mode, utterances=cell.utterances, normaliser=cell.normaliser,
            score=_rate(cell.normalised), base=None if before is None else _rate(before.normalised), wrong_tag_rate=cell.wrong_tag_rate,
            synthetic=_synthetic(Path(cell.hypotheses)),
        ))  # fmt: skip
    return tuple(sorted(found, key=lambda one: (one.role != "target", one.role, one.set_name, one.att_context[1], one.prompt_mode)))


def _condition(cell: EvalCell) -> tuple[str, tuple[int, int], str, str]:
    return cell.set.sha256, cell.att_context, cell.prompt_mode, cell.normaliser


def _rate(wer: Wer) -> CardRate:
    return CardRate(percent=wer.percent, ci95=wer.ci95, words=wer.words, unit=wer.unit)


def _roles(ledger: Ledger) -> dict[str, str]:
    """Manifest digest -> role of the registered sets (objects of `asrcore.data.roles`)."""
    return {str(row.data["manifest"]["sha256"]): str(row.data["role"]) for row in ledger.list("set", ALL_ROWS)}


def _guards(ledger: Ledger, checkpoint: str) -> tuple[CardGuard, ...]:
    reports = (ReplayReport.model_validate(row.data) for row in ledger.list("replay", ALL_ROWS))
    newest_report = next((report for report in reports if report.tuned_checkpoint.sha256 == checkpoint), None)
    return tuple(
        CardGuard(set_name=clean_text(guard.set.name, 60), locales=guard.locales, att_context=guard.att_context, prompt_mode=guard.prompt_mode,
                  loss_points=guard.loss_points, upper_bound=guard.bounds95[1], margin_points=guard.margin_points, verdict=guard.verdict,
                  words=guard.words)
        for guard in (newest_report.guards if newest_report else ())
    )  # fmt: skip


def _synthetic(hypotheses: Path) -> bool:
    """Whether any utterance behind an eval says that its source is synthetic."""
    try:
        return any((one.source or "").lower().startswith("synthetic") for one in read_hypotheses(hypotheses))
    except (AsrtuneError, OSError):
        return False


def _embedded_sha256() -> str | None:
    try:
        return sha256_file(embedded_base())
    except AsrtuneError:
        return None  # an installation without the embedded base
