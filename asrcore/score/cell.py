"""All scores of one set of hypotheses: what an eval cell says besides where it came from."""

from __future__ import annotations

from collections.abc import Sequence

from asrcore.requests import Hypothesis, PromptMode, Scores
from asrcore.score.bootstrap import count, with_ci
from asrcore.score.normalise import NORMALISER
from asrcore.score.script import corpus_script_share
from asrcore.score.segments import segment_tags, wrong_tag
from asrcore.score.slices import slices
from asrcore.score.style import style_errors
from asrcore.score.terms import term_score
from asrcore.score.wer import tokens

REPEATS = 5
LONGEST_PHRASE = 4


def score_hypotheses(
    hyps: Sequence[Hypothesis], prompt_mode: PromptMode, slice_by: Sequence[str] = (), terms: Sequence[str] = ()
) -> Scores:
    """Corpus rates with their 95 % intervals over clusters (asrcore.score.bootstrap), style, terms, slices.

    Raises what `count_errors`, `term_score` and `slices` raise.
    """
    auto = prompt_mode == "auto"
    return Scores(
        locales=tuple(sorted({h.locale for h in hyps})), utterances=len(hyps), seconds=round(sum(h.duration for h in hyps), 2),
        raw=with_ci(hyps, normalised=False), normalised=with_ci(hyps, normalised=True), normaliser=NORMALISER,
        empty_hypotheses=sum(not h.text.strip() for h in hyps), repeated_phrases=sum(map(runs_on, hyps)),
        wrong_tag_rate=sum(map(wrong_tag, hyps)) / len(hyps) if auto else None,
        script_share=round(corpus_script_share((h.text, h.locale) for h in hyps), 4), style=style_errors(hyps),
        terms=term_score(hyps, terms) if terms else None,
        slices=slices(hyps, count([h.text for h in hyps], hyps, normalised=True), slice_by) if slice_by else (),
        segment_tags=segment_tags(hyps) if auto else None,
    )  # fmt: skip


def longest_repeat(words: Sequence[str]) -> int:
    """The most times a phrase of up to four words comes in a row."""
    best = min(1, len(words))
    for size in range(1, LONGEST_PHRASE + 1):
        run = 1
        for start in range(size, len(words) - size + 1):
            # `run` counts words that equal the one a phrase before; a whole phrase repeated is `size` of them.
            run = run + 1 if words[start : start + size] == words[start - size : start] else 1
            best = max(best, 1 + (run - 1 + size - 1) // size)
    return best


def runs_on(h: Hypothesis) -> bool:
    """Whether a phrase comes five times or more in a row, and does not in the reference."""
    return (
        longest_repeat(tokens(h.text, h.locale, normalised=True))
        >= REPEATS
        > longest_repeat(tokens(h.reference, h.locale, normalised=True))
    )
