"""What the normalised rate does not show: punctuation and casing, listed terms, slices, and how the evals were decoded."""

from __future__ import annotations

from collections.abc import Sequence

from asrcore.report.heard import Heard
from asrcore.report.markup import Html, el, join
from asrcore.report.numbers import count, percent, rate, signed
from asrcore.report.parts import Target, folded, named, note, section, table, with_ci
from asrcore.requests import EvalCell, Slice

MAX_VALUES = 12
"""Values of a field shown at once; the rest is folded."""
MIN_WORDS = 100
"""Values with fewer reference words come last: their rates say little, and none is named worst."""


def style(found: Sequence[Target]) -> Html:
    """Punctuation and casing errors, where both evals counted them."""
    rows = [
        [named(t.base), _percent(base.punctuation_percent), _percent(tuned.punctuation_percent), _both(base.punctuation_marks, tuned.punctuation_marks),
         _percent(base.casing_percent), _percent(tuned.casing_percent), _both(base.cased_words, tuned.cased_words)]
        for t in found if (base := t.base.style) and (tuned := t.tuned.style)
    ]  # fmt: skip
    if not rows:
        return join()
    about = (
        "Errors in what normalising takes away, in percent of what the reference holds: marks missed, made up or swapped per mark in the reference, and "
        "case errors per right word that could have one (the better model has more right words). A dash: the reference holds none."
    )
    head = ("set", "punctuation % base", "tuned", "marks", "casing % base", "tuned", "cased words")
    return section("Punctuation and casing", about, table("Punctuation and casing", head, rows))


def tags(found: Sequence[Target]) -> Html:
    """Language tags that the evals in `auto` wrote: wrong ones, and those of utterances that change their language."""
    rows = [
        [named(t.base), percent(t.base.wrong_tag_rate), percent(t.tuned.wrong_tag_rate), count(t.base.utterances)]
        for t in found if t.base.wrong_tag_rate is not None and t.tuned.wrong_tag_rate is not None
    ]  # fmt: skip
    if not rows:
        return join()
    parts = [table("Wrong tags of the target sets", ("set", "base", "tuned", "utterances"), rows)]
    switched = [
        [named(t.base), f"{base.correct_percent:.0f} %", f"{tuned.correct_percent:.0f} %", *(with_ci(side.wer) if side.wer else "–" for side in (base, tuned)),
         count(base.utterances), count(base.segments)]
        for t in found if (base := t.base.segment_tags) and (tuned := t.tuned.segment_tags)
    ]  # fmt: skip
    if switched:
        said = "Utterances in several languages: segments whose tag was written in its turn, and the error rate of these utterances alone."
        head = ("set", "right tags base", "tuned", "rate base", "tuned", "utterances", "segments")
        parts += [el("h3", "Change of language within an utterance"), note(said), table("Change of language within an utterance", head, switched)]
    return section("Language tags in auto", "Share of utterances whose last language tag is missing or another language's.", *parts)


def terms(found: Sequence[Target], confused: Sequence[Heard], condition: str) -> Html:
    """Recall, precision and F1 of the listed terms, and what was written instead of those that were missed."""
    rows = [
        [named(cell), system, count(cell.terms.terms), count(cell.terms.occurrences),
         *map(_percent, (cell.terms.recall_percent, cell.terms.precision_percent, cell.terms.f1_percent))]
        for target in found for system, cell in target.sides if cell.terms is not None
    ]  # fmt: skip
    if not rows:
        return join()
    parts = [table("Listed terms", ("set", "system", "terms", "spoken", "recall %", "precision %", "F1 %"), rows)]
    if confused:
        head = ("term", "spoken", "base missed", "tuned missed", "written instead")
        lines = [[el("bdi", h.term), count(h.spoken), count(h.base_missed), count(h.tuned_missed), _instead(h)] for h in confused]
        parts += [el("h3", "Missed terms"), note(f"The tuned model's words in place of the term; {condition}"),
                  table("Missed terms", head, lines)]  # fmt: skip
    return section("Listed terms", "Words and names of the caller's list, counted after normalisation.", *parts)


def slices(headline: Target, condition: str) -> Html:
    """Base and tuned by the values of each manifest field that the eval was sliced by; the worst value of the tuned model is marked."""
    base = {(s.field, s.untrusted_text): s for s in headline.base.slices}
    fields: dict[str, list[Slice]] = {}
    for found in headline.tuned.slices or headline.base.slices:
        fields.setdefault(found.field, []).append(found)
    if not fields:
        return join()
    both = bool(headline.tuned.slices) and bool(base)
    parts: list[Html] = []
    for field, found in fields.items():
        ordered = sorted(found, key=lambda s: (s.wer.words < MIN_WORDS, -s.wer.percent, s.untrusted_text))
        rows = [_slice(s, base.get((s.field, s.untrusted_text)) if both else None, shown_for_both=both) for s in ordered]
        head = ("value", "utterances", f"{headline.unit}s", *(("base", "tuned", "change") if both else ("rate",)))
        parts += [el("h3", "By ", el("bdi", field.replace("_", " "))), table(f"By {field}", head, rows[:MAX_VALUES])]
        if rows[MAX_VALUES:]:
            parts.append(folded(f"{len(rows) - MAX_VALUES} more values", table(f"By {field}, further values", head, rows[MAX_VALUES:])))
    whose = "" if both else f" Rates of the {'tuned' if headline.tuned.slices else 'base'} model only; the other was not sliced."
    about = (
        f"Highest rate of the tuned model first; values with fewer than {MIN_WORDS} {headline.unit}s last. "
        f"With many values some stand out by chance.{whose} Normalised; {condition}"
    )
    return section("Slices", about, *parts)


def decoding(cells: Sequence[tuple[str, EvalCell]]) -> Html:
    """How fast each eval was decoded, how soon text appeared, and what the fast engine's sample showed. `cells` come with their system."""
    times = [
        [named(cell), system, str(cell.batch_size), f"{cell.rtfx:.1f} ×", _spread(t.p50_ms, t.p95_ms, t.p99_ms),
         _spread(t.last_chunk_p50_ms, t.last_chunk_p95_ms, t.last_chunk_p99_ms), _spread(t.first_partial_ms_p50, t.first_partial_ms_p95, t.first_partial_ms_p99)]
        for system, cell in cells if (t := cell.chunk_times) is not None
    ]  # fmt: skip
    parity = [
        [named(cell), system, cell.engine, count(p.utterances), f"{p.identical_percent:.1f}", signed(p.delta_points, 2),
         "equivalent" if p.held else "not equivalent"]
        for system, cell in cells if (p := cell.parity) is not None
    ]  # fmt: skip
    if not times and not parity:
        return join()
    parts: list[Html] = []
    if times:
        about = (
            "In milliseconds: the median, below it the 95th and 99th percentile. Step: wall time of a chunk for a whole batch of streams. Final text: the same "
            "for the last chunk, what a speaker waits for beyond it. First text: audio time from the start of the clip, silence included, until a word stands. "
            "Model side only, on the machine that ran the eval; other work on it shows in the high percentiles."
        )
        head = ("set", "system", "batch", "speed", "step", "final text", "first text")
        parts += [el("h3", "Latency and speed"), note(about), table("Latency in milliseconds", head, times)]
    if parity:
        about = (
            "The fast engine against the exact one at batch 1 on a random sample; difference in points of normalised rate, fast less exact."
        )
        head = ("set", "system", "engine", "sample", "identical %", "difference", "verdict")
        parts += [el("h3", "Fast engine"), note(about), table("Fast engine against exact", head, parity)]
    return section("Decoding", "", *parts)


def _spread(p50: float | None, p95: float | None, p99: float | None) -> Html:
    """Median, and below it the high percentiles, which old evals lack for some figures."""
    if p50 is None:
        return join("–")
    return join(f"{p50:.0f}", *([el("small", f"{p95:.0f} · {p99:.0f}")] if p95 is not None and p99 is not None else []))


def _both(base: int, tuned: int) -> str:
    return count(base) if base == tuned else f"{count(base)} · {count(tuned)}"


def _slice(tuned: Slice, base: Slice | None, *, shown_for_both: bool) -> list[str]:
    mark = [el("small", "▲ worst", class_="worst")] if tuned.worst else []
    words = [el("small", "few words")] if tuned.wer.words < MIN_WORDS else []
    head = [join(el("bdi", tuned.untrusted_text or "(empty)"), *mark, *words), count(tuned.utterances), count(tuned.wer.words)]
    if not shown_for_both:
        return [*head, with_ci(tuned.wer)]
    if base is None:
        return [*head, "–", with_ci(tuned.wer), "–"]
    return [*head, with_ci(base.wer), with_ci(tuned.wer), signed(tuned.wer.percent - base.wer.percent)]


def _instead(heard: Heard) -> Html:
    if not heard.tuned_missed:
        return join("–")
    said = [join(el("bdi", words) if words else el("i", "nothing"), f" {count(times)} ×") for words, times in heard.instead]
    return join(*(join(", " if n else "", one) for n, one in enumerate(said)))


def _percent(value: float | None) -> str:
    return "–" if value is None else rate(value)
