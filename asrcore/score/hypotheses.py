"""Hypotheses of an eval as they lie on disk, and two of them side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from asrcore import io
from asrcore.errors import NotReadyError, Problem, clean_text
from asrcore.manifest import Row
from asrcore.requests import EvalCell, Hypothesis
from asrcore.score.bootstrap import Clusters, Draws, Floats, cluster, count, draws, rate, resample
from asrcore.score.tags import strip_tags
from asrcore.score.wer import ErrorCounts, Wer


@dataclass(frozen=True)
class Pair:
    """Base and tuned over the same utterances in the same order, under one seed."""

    base: tuple[Hypothesis, ...]
    tuned: tuple[Hypothesis, ...]
    clusters: Clusters
    base_counts: ErrorCounts
    tuned_counts: ErrorCounts
    rates: Floats
    """Replications of both error rates, shape (2, replications)."""

    @property
    def difference(self) -> Draws:
        """tuned - base, in points; positive is worse."""
        errors = self.tuned_counts.errors - self.base_counts.errors
        return draws(self.rates[1] - self.rates[0], errors, self.base_counts.words, self.clusters)

    @property
    def base_wer(self) -> Wer:
        return rate(self.base_counts, self.rates[0], self.clusters)

    @property
    def tuned_wer(self) -> Wer:
        return rate(self.tuned_counts, self.rates[1], self.clusters)


def hypothesis_of(row: Row, raw: str, first_partial_s: float | None = None) -> Hypothesis:
    """What a system wrote for a manifest row, with its tags taken out and kept."""
    utterance = row.utterance
    text, tag = strip_tags(raw)
    return Hypothesis(
        id=utterance.id or f"line-{row.line}", locale=utterance.target_lang, reference=utterance.text, text=text, raw_text=raw, tag=tag,
        duration=utterance.duration, speaker=utterance.speaker, source=utterance.source, line=row.line,
        sampling_rate=utterance.sampling_rate, fields=utterance.free_fields(), first_partial_s=first_partial_s,
    )  # fmt: skip


def write_hypotheses(path: Path, hypotheses: Iterable[Hypothesis]) -> None:
    """The file that `read_hypotheses` reads, complete or not at all."""
    io.write_text(path, "".join(h.model_dump_json() + "\n" for h in hypotheses))


def read_hypotheses(path: Path) -> tuple[Hypothesis, ...]:
    """One `Hypothesis` a line. Raises `hypotheses_missing`, or `hypotheses_invalid` with every bad line and doubled id."""
    again = "run run_streaming_eval for this checkpoint and set again."
    if not path.is_file():
        raise NotReadyError("hypotheses_missing", f"there is no file at {path}.", next_step=again)
    problems: list[Problem] = []
    rows: list[Hypothesis] = []
    seen: set[str] = set()
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            try:
                row = Hypothesis.model_validate_json(line)
            except ValidationError:
                problems.append(_bad(path, number, "the line is not a hypothesis"))
                continue
            if row.id in seen:
                problems.append(_bad(path, number, "the id appears a second time"))
            seen.add(row.id)
            rows.append(row)
    if problems or not rows:
        raise NotReadyError("hypotheses_invalid", f"{path} holds {len(problems)} bad lines." if problems else f"{path} is empty.",
                            next_step=again, problems=problems)  # fmt: skip
    return tuple(rows)


def pair_up(base: EvalCell, tuned: EvalCell, seed: int, normalised: bool = True) -> Pair:
    """Scores both cells under the same draws. Raises `sets_differ`, `latency_differs` or `prompt_mode_differs` unless both decoded the same
    utterances at the same att_context_size and prompt mode, and `too_few_clusters` for a single speaker or sentence."""
    require_same_conditions(base, tuned)
    left = read_hypotheses(Path(base.hypotheses))
    by_id = {h.id: h for h in read_hypotheses(Path(tuned.hypotheses))}
    if len(left) != len(by_id) or any((other := by_id.get(h.id)) is None or _asked(h) != _asked(other) for h in left):
        raise NotReadyError("sets_differ", f"evals {base.eval_id} and {tuned.eval_id} did not decode the same utterances, references and locales.",
                            next_step="run run_streaming_eval for both checkpoints on the same manifest.")  # fmt: skip
    right = tuple(by_id[h.id] for h in left)
    clusters = cluster(left)
    if clusters.count < 2:
        raise NotReadyError("too_few_clusters", f"all utterances of {clean_text(base.set.name, 80)} belong to one {clusters.kind}.",
                            next_step="evaluate a larger set.")  # fmt: skip
    counts = [count([h.text for h in side], left, normalised) for side in (left, right)]
    rates = resample([c.errors for c in counts], counts[0].words, clusters, seed)
    return Pair(left, right, clusters, counts[0], counts[1], rates)


def require_same_conditions(base: EvalCell, tuned: EvalCell) -> None:
    """All differences that make two evals incomparable, raised at once under the first one's code."""
    found = [
        Problem(code=code, message=f"{what}: {clean_text(str(left), 80)} in the base eval, {clean_text(str(right), 80)} in the tuned eval", fix=fix)
        for code, what, left, right, fix in (
            ("sets_differ", "set (name and sha256)", f"{base.set.name} {base.set.sha256[:12]}", f"{tuned.set.name} {tuned.set.sha256[:12]}", "evaluate both on one manifest"),
            ("latency_differs", "att_context_size", list(base.att_context), list(tuned.att_context), "evaluate both at one att_context_size"),
            ("prompt_mode_differs", "prompt mode", base.prompt_mode, tuned.prompt_mode, "evaluate both in one prompt mode"),
        )
        if (base.set.sha256 != tuned.set.sha256 if code == "sets_differ" else left != right)
    ]  # fmt: skip
    if found:
        raise NotReadyError(found[0].code, f"evals {base.eval_id} and {tuned.eval_id} cannot be compared: " + "; ".join(p.message for p in found) + ".",
                            next_step="choose two evals of the same set, att_context_size and prompt mode (list_objects with kind eval), or run the missing one.",
                            problems=found)  # fmt: skip


def condition_warnings(base: EvalCell, tuned: EvalCell) -> tuple[Problem, ...]:
    """What may differ between two comparable evals and still move the numbers."""
    return tuple(
        Problem(code=code, severity="warning", message=f"{what}: {left} against {right}", fix=fix)
        for code, what, left, right, fix in (
            ("engine_differs", "engine", base.engine, tuned.engine, "evaluate both with one version of asrtune"),
            ("batch_size_differs", "batch size, which changes near-tie transcripts", base.batch_size, tuned.batch_size, "evaluate both at one batch size"),
        )
        if left != right
    )  # fmt: skip


def _asked(h: Hypothesis) -> tuple[str, str]:
    return h.reference, h.locale


def _bad(path: Path, line: int, message: str) -> Problem:
    return Problem(code="hypothesis_invalid", message=message, file=str(path), line=line, fix="run the eval again")
