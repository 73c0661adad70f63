"""How far to go from a base to the tuned weights: the largest alpha at which every guard is kept (design §4).

Alphas are tried from the largest down, and the first whose guards are all `kept` ends the search: what lies below it gains less. The evals are those of
`run_streaming_eval`, in its folders and under its ids, so nothing is decoded twice, whoever asked first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asrcore.jobs.checkpoints import eval_subject
from asrcore.jobs.child import Reporter
from asrcore.model import evaluate
from asrcore.requests import Blend, BlendGuards, EvalCell, EvalRequest, GuardedBlend
from asrcore.score.replay import check_guards


def choose(blends: Sequence[Blend], guards: BlendGuards, reporter: Reporter) -> tuple[tuple[GuardedBlend, ...], tuple[EvalCell, ...]]:
    """What was found at each alpha that was tried, largest first, and the evals of the blends. The choice is the last one where its verdict is `kept`."""
    cells, found = list[EvalCell](), list[GuardedBlend]()
    for blend in sorted(blends, key=lambda one: -one.alpha):
        after = [_like(base, blend, guards.evals, reporter) for base in guards.base]
        cells += after
        report = check_guards(list(zip(guards.base, after, strict=True)), guards.margin_points)
        lost = tuple(sorted({locale for guard in report.guards if guard.verdict != "kept" for locale in guard.locales}))
        found.append(GuardedBlend(blend_id=blend.blend_id, alpha=blend.alpha, verdict=report.verdict, not_kept=lost,
                                  worst_loss_points=round(max(guard.loss_points for guard in report.guards), 3)))  # fmt: skip
        if report.verdict == "kept":
            break
    return tuple(found), tuple(cells)


def _like(base: EvalCell, blend: Blend, evals: str, reporter: Reporter) -> EvalCell:
    """The blend's eval under the conditions of the base's."""
    checkpoint = blend.checkpoint.model_copy(update={"name": blend.blend_id})
    subject = eval_subject(checkpoint, Path(evals))
    request = EvalRequest(checkpoint=checkpoint, sets=(base.set,), att_contexts=(base.att_context,), prompt_modes=(base.prompt_mode,),
                          batch_size=max(1, base.batch_size), out=subject.out)  # fmt: skip
    (cell,) = evaluate.run(request, reporter).cells
    return cell
