"""Speed of scoring against stated bars, on made-up text whose words are as unevenly frequent as speech.

    python bench/bench_score.py [--runs 5] [--json]

24,000 utterances with slices and no normalisation, counting with normalisation, the bootstrap of two systems over 1,000 clusters. A time counts
only after the counts of the same run were found equal to `jiwer.process_words`, utterance by utterance. Median of the runs; exit code 1 when a
bar is missed. Not a test: wall clocks lie on busy machines.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jiwer
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from asrcore.requests import Hypothesis
from asrcore.score.bootstrap import Clusters, resample
from asrcore.score.slices import slices
from asrcore.score.style import style_errors
from asrcore.score.terms import term_score
from asrcore.score.wer import ErrorCounts, count_errors, tokens

UTTERANCES = 24_000
VOCABULARY = 30_000
SCRIPTS = {
    "en-US": "etaoinshrdlucmfwypvbgkjqxz", "el-GR": "αοιετσνηυρπκμλδγχθφβωξψζάέήίόύώς", "bg-BG": "аиоентрсвлкдпмзбгъячщюцжхфш",
    "hi-IN": "करनहमसतलपयदवबजगचटथधखशभ\u093e\u093f\u0940\u0947\u094b\u094d\u0902",
}  # fmt: skip


class Row(NamedTuple):
    """One figure. `least`: the bar is a minimum; a row without a bar is for information."""

    name: str
    value: float
    unit: str
    bar: float | None
    least: bool = False

    @property
    def held(self) -> bool:
        return self.bar is None or (self.value >= self.bar if self.least else self.value <= self.bar)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    hyps = made_up(np.random.default_rng(0))
    rows = [*counting(hyps, options.runs), *slicing(hyps, options.runs), *extras(hyps, options.runs), bootstrap(options.runs)]
    if options.json:
        print(json.dumps([{**row._asdict(), "value": float(row.value), "held": bool(row.held)} for row in rows]))
    else:
        for row in rows:
            bar = "" if row.bar is None else f"{'at least' if row.least else 'at most'} {row.bar:g}"
            print(f"{row.name:58} {row.value:9.2f} {row.unit:9} {bar:14} {'' if row.bar is None else 'ok' if row.held else 'MISSED'}")
    return int(not all(row.held for row in rows))


def made_up(rng: np.random.Generator) -> list[Hypothesis]:
    """Sentences of about 14 words, frequencies falling with the rank (Zipf), case and commas; 12 % of the words misheard, lost or doubled."""
    share = 1 / np.arange(1, VOCABULARY + 1)
    hyps: list[Hypothesis] = []
    for locale, letters in SCRIPTS.items():
        words = ["".join(rng.choice(list(letters), size)) for size in rng.integers(1, 12, VOCABULARY)]
        picks: list[list[int]] = rng.choice(VOCABULARY, size=(UTTERANCES // len(SCRIPTS), 24), p=share / share.sum()).tolist()
        lengths: list[int] = rng.integers(5, 24, len(picks)).tolist()
        for n, (row, length) in enumerate(zip(picks, lengths, strict=True)):
            reference = [words[k] for k in row[:length]]
            text: list[str] = []
            lucks: list[float] = rng.random(length).tolist()
            for word, luck in zip(reference, lucks, strict=True):
                text += (
                    [word]
                    if luck > 0.12
                    else [words[int(rng.integers(VOCABULARY))]]
                    if luck > 0.04
                    else [word, word]
                    if luck > 0.02
                    else []
                )
            hyps.append(Hypothesis(
                id=f"{locale}-{n}", locale=locale, reference=f"{' '.join(reference).capitalize()}, {' '.join(reference[:1])}.",
                text=f"{' '.join(text).capitalize()} {' '.join(text[:1])}.", raw_text="", tag=None, duration=float(rng.uniform(1, 25)),
                speaker=f"s{rng.integers(1000)}", source=f"corpus{rng.integers(6)}", line=n + 1, fields={"channel": f"c{rng.integers(60)}"},
            ))  # fmt: skip
    return hyps


def columns(hyps: Sequence[Hypothesis]) -> tuple[list[str], list[str], list[str]]:
    return [h.reference for h in hyps], [h.text for h in hyps], [h.locale for h in hyps]


def counting(hyps: Sequence[Hypothesis], runs: int) -> list[Row]:
    references, texts, locales = columns(hyps)
    rows: list[Row] = []
    for normalised in (True, False):
        equal_to_jiwer(count_errors(references, texts, locales, normalised), hyps, normalised)
        counts, seconds = timed(lambda normalised=normalised: count_errors(references, texts, locales, normalised), runs)
        what = "with" if normalised else "without"
        rows.append(Row(f"count_errors {what} normalisation", int(counts.words.sum()) / seconds / 1000, "kwords/s", 1000, least=True))
    return rows


def slicing(hyps: Sequence[Hypothesis], runs: int) -> list[Row]:
    references, texts, locales = columns(hyps)

    def score() -> int:
        counts = count_errors(references, texts, locales, False)
        return len(slices(hyps, counts, ["speaker", "source", "duration", "channel", "locale"]))

    shown, seconds = timed(score, runs)
    return [Row(f"24,000 utterances and {shown} slices, no normalisation", seconds, "s", 2.0)]


def extras(hyps: Sequence[Hypothesis], runs: int) -> list[Row]:
    terms = list(dict.fromkeys(" ".join(h.reference.split()[1:3]) for h in hyps[:2000]))[:1000]
    return [
        Row("style_errors of 24,000 utterances", timed(lambda: style_errors(hyps), runs)[1], "s", None),
        Row(f"term_score of 24,000 utterances, {len(terms)} terms", timed(lambda: term_score(hyps, terms), runs)[1], "s", None),
    ]


def bootstrap(runs: int) -> Row:
    rng = np.random.default_rng(1)
    words = rng.integers(50, 400, size=1000)
    errors = [rng.binomial(words, 0.1), rng.binomial(words, 0.09)]
    found = Clusters("speaker", np.arange(1000), 1000, ())
    rates, seconds = timed(lambda: resample(errors, words, found, 0), runs)
    spread = 100 * np.sqrt(1000) * np.std(errors[0] - words * errors[0].sum() / words.sum()) / words.sum()
    if rates.shape != (2, 10_000) or abs(rates[0].std() / spread - 1) > 0.05:
        raise SystemExit("the bootstrap's spread is not that of the linearised ratio; its time does not count.")
    return Row("10,000 replications of two systems over 1,000 clusters", seconds, "s", 0.3)


def equal_to_jiwer(counts: ErrorCounts, hyps: Sequence[Hypothesis], normalised: bool) -> None:
    """Stops the benchmark unless S, D, I and words are jiwer's in every utterance."""
    sides = [[" ".join(tokens(text, h.locale, normalised)) for h, text in zip(hyps, side, strict=True)] for side in columns(hyps)[:2]]
    out: Any = jiwer.process_words(
        *sides, reference_transform=jiwer.ReduceToListOfListOfWords(), hypothesis_transform=jiwer.ReduceToListOfListOfWords()
    )
    for n, chunks in enumerate(out.alignments):
        s, d, i = (
            sum(max(c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx) for c in chunks if c.type == kind) for kind in ("substitute", "delete", "insert")
        )  # fmt: skip
        if (s, d, i, len(out.references[n])) != (counts.substitutions[n], counts.deletions[n], counts.insertions[n], counts.words[n]):
            raise SystemExit(f"utterance {n}: counts differ from jiwer's; no time counts.")


def timed(call: Callable[[], Any], runs: int) -> tuple[Any, float]:
    """The result and the median of the wall times in seconds, after one call that is not counted."""
    result = call()
    times: list[float] = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return result, statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
