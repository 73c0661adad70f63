"""A page with everything on it, from made-up transcripts in seven languages and four writing directions and scripts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asrcore.campaign.curve import Curve, Point, fit
from asrcore.campaign.evidence import Judgement, Lever
from asrcore.campaign.history import CurveAt, History, RoundRate
from asrcore.report import Training, build_report
from asrcore.requests import (
    Candidate,
    CheckpointRef,
    ChunkTimes,
    Consumed,
    EvalCell,
    Event,
    Parity,
    SegmentTags,
    Slice,
    StyleErrors,
    TermScore,
    TrainResult,
    Wer,
)
from asrcore.score import check_guards, compare_cells
from tests.score.evals import BASE, TUNED, cell, hypotheses

WORDS = {
    "el-GR": "η γραμμή είναι απασχολημένη παρακαλώ καλέστε αργότερα ο αριθμός του λογαριασμού σας λήγει την Τρίτη το πρωί στην οδό Αθηνάς",
    "en-US": "the line is busy please call back after nine your account number ends on Tuesday at the station",
    "de-DE": "die Leitung ist besetzt bitte rufen Sie später wieder an Ihre Kundennummer endet am Dienstag",
    "ar-EG": "الخط مشغول من فضلك اتصل مرة أخرى بعد الساعة التاسعة رقم حسابك",
    "he-IL": "הקו תפוס אנא התקשר שוב אחרי תשע מספר החשבון שלך מסתיים",
    "hi-IN": "लाइन व्यस्त है कृपया नौ बजे के बाद फिर कॉल करें आपका खाता",
    "ja-JP": "回線が混み合っています後でお掛け直しください",
}
GUARDS = (
    ("en-US", 0.08, 0.082),
    ("de-DE", 0.10, 0.17),
    ("ar-EG", 0.20, 0.21),
    ("he-IL", 0.22, 0.22),
    ("hi-IN", 0.15, 0.16),
    ("ja-JP", 0.12, 0.12),
)
"""Locale, and the shares of wrong words of base and tuned."""


def references(locale: str, utterances: int) -> list[str]:
    rng = random.Random(locale)
    words = list(WORDS[locale]) if locale == "ja-JP" else WORDS[locale].split()
    return [("" if locale == "ja-JP" else " ").join(rng.choices(words, k=rng.randint(4, 14))) for _ in range(utterances)]


def recognised(refs: Sequence[str], locale: str, wrong: float, seed: int) -> list[str]:
    """Transcripts with this share of words wrong: half substituted, a third missing, the rest with a word too many."""
    rng = random.Random(seed)
    space = "" if locale == "ja-JP" else " "
    words = list(WORDS[locale]) if locale == "ja-JP" else WORDS[locale].split()
    out: list[str] = []
    for ref in refs:
        said: list[str] = []
        for word in list(ref) if locale == "ja-JP" else ref.split():
            draw = rng.random() / wrong
            said += [rng.choice(words)] if draw < 0.5 else [] if draw < 0.85 else [word, rng.choice(words)] if draw < 1 else [word]
        out.append(space.join(said))
    return out


def both(
    folder: Path, locale: str, wrong: tuple[float, float], utterances: int, seeds: tuple[int, int] = (1, 2), **changes: Any
) -> tuple[EvalCell, EvalCell]:
    """Base and tuned on one set; `base_extra` and `tuned_extra` are the fields of one side."""
    refs = references(locale, utterances)
    extras = changes.pop("base_extra", {}), changes.pop("tuned_extra", {})
    left, right = (
        cell(
            folder,
            checkpoint,
            hypotheses(refs, recognised(refs, locale, share, seed), locale=locale, source="synthetic-telephone"),
            **changes,
            **extra,
        )
        for checkpoint, share, seed, extra in zip((BASE, TUNED), wrong, seeds, extras, strict=True)
    )
    return left, right


def extras(level: float) -> dict[str, Any]:
    """Slices, style, terms and times of one side; `level` is its error rate in percent."""

    def part(field: str, value: str, times: float, words: int, worst: bool = False) -> Slice:
        errors = round(level * times * words / 100)
        wer = Wer(percent=100 * errors / words, errors=errors, substitutions=errors, deletions=0, insertions=0, words=words, ci95=(0.8 * level * times, 1.2 * level * times))  # fmt: skip
        return Slice(field=field, untrusted_text=value, utterances=words // 8, wer=wer, worst=worst)

    return {
        "slices": (part("channel", "mobile", 1.0, 800), part("channel", "حديقة <b>", 1.6, 300, True), part("channel", "landline", 0.7, 340),
                   part("channel", "x" * 80, 2.0, 24), part("speaker_age", "60+", 1.3, 700, True), part("speaker_age", "20-30", 0.8, 740)),
        "style": StyleErrors(punctuation_percent=1.4 * level, casing_percent=0.3 * level, punctuation_marks=412, cased_words=390),
        "terms": TermScore(terms=3, occurrences=95, recall_percent=100 - level, precision_percent=99.0, f1_percent=100 - level / 2, missed=("λογαριασμού", "Τρίτη")),
        "chunk_times": ChunkTimes(chunks=5200, p50_ms=21.4, p95_ms=33.0, p99_ms=48.7, last_chunk_p50_ms=24.9, last_chunk_p95_ms=35.2, last_chunk_p99_ms=51.0,
                                   first_partial_ms_p50=480.0, first_partial_ms_p95=960.0, first_partial_ms_p99=1280.0),
        "parity": Parity(utterances=160, identical_percent=99.4, delta_points=0.02, held=True),
    }  # fmt: skip


def run_result() -> TrainResult:
    return TrainResult(
        run_id="run_0123456789ab", best=CheckpointRef(name="run_0123456789ab", path="/m.nemo", sha256="c" * 64), best_step=1500,
        candidates=tuple(Candidate(step=step, path="c", dev_wer=wer, train_loss=3.0) for step, wer in ((500, 24.0), (1000, 20.5), (1500, 18.9), (2000, 19.4))),
        base_dev_wer=40.0,
        consumed=(Consumed(source="phone", role="train", utterances=9000, seconds=36000, seconds_by_locale={"el-GR": 36000.0}),
                  Consumed(source="replay", role="replay", utterances=3000, seconds=9000, seconds_by_locale={"en-US": 3000.0, "de-DE": 6000.0})),
        steps=2000, trainable_parameters=3_700_000, seconds=6000, audio_hours_per_hour=60,
    )  # fmt: skip


def events() -> tuple[Event, ...]:
    rng = random.Random(0)
    return tuple(
        Event(time=n, stage="train", step=n, total=2000, metrics={"loss": 8 + 90 / (n / 60 + 1) + rng.gauss(0, 2)})
        for n in range(0, 2000, 5)
    )


def rate(percent: float) -> Wer:
    errors = round(10 * percent)
    return Wer(percent=percent, errors=errors, substitutions=errors, deletions=0, insertions=0, words=1000, ci95=(0.9 * percent, 1.1 * percent))


def history() -> History:
    """Seven rounds with every judgement, a curve and a goal."""
    steps: tuple[tuple[float, float | None, Lever, Judgement], ...] = (
        (28.0, 10, "add_data", "promote"), (22.5, 20, "add_data", "reject"), (25.5, 20, "blend", "reject"), (22.4, 20, "more_replay", "promote"),
        (29.9, 40, "add_data", "reject"), (18.7, 40, "fix_data", "promote"), (18.5, 80, "add_data", "undecided"),
    )  # fmt: skip
    rounds = [
        RoundRate(number=n, checkpoint=f"run_{n}", wer=rate(percent), hours=hours, lever=lever, judgement=judgement,
                  guards="forgotten" if n in (2, 3) else "kept", on_curve=n not in (3, 5))
        for n, (percent, hours, lever, judgement) in enumerate(steps, 1)
    ]  # fmt: skip
    points = [Point(hours=one.hours, percent=one.wer.percent) for one in rounds if one.on_curve and one.hours]
    found = fit(points, 0.5 * np.eye(len(points)))
    assert isinstance(found, Curve)
    base = RoundRate(number=0, checkpoint="embedded", wer=rate(39.8), hours=None, lever=None, judgement="none", guards=None, on_curve=False)
    return History(
        campaign_id="campaign_0123456789ab", decision_id="decision_0123456789ab", set_name="greek_phone_test", latency_ms=80, prompt_mode="langID",
        goal_percent=15.0, rounds=(base, *rounds), in_force="run_6", times_used=8, refused=None,
        curve=tuple(CurveAt(hours=hours, error=found.error(hours)) for hours in (10, 20, 40, 80, 120, 160)),
    )  # fmt: skip


def full_page(folder: Path, utterances: int = 120) -> Path:
    """Five latencies in langID and one in auto, six guards with all verdicts, rounds, training, slices, terms, style, tags and times."""
    name = "greek_phone_test"
    targets = [
        both(folder, "el-GR", (0.42 - right / 80, 0.17 - right / 150), utterances, right=right, set_name=name,
             base_extra=extras(40.0) if right == 0 else {}, tuned_extra=extras(16.0) if right == 0 else {})
        for right in (0, 1, 3, 6, 13)
    ]  # fmt: skip
    switched = [{"segment_tags": SegmentTags(utterances=24, segments=52, correct_percent=right, wer=rate(wrong))} for right, wrong in ((46.2, 51.0), (71.2, 33.3))]
    targets.append(both(folder, "el-GR", (0.45, 0.2), utterances, set_name=name, prompt_mode="auto", wrong_tag_rate=0.1,
                        base_extra=switched[0], tuned_extra=switched[1]))
    guards = [both(folder, locale, shares, utterances, (3, 3), set_name=f"{locale}_guard") for locale, *shares in GUARDS]  # type: ignore[arg-type]
    guards.append(both(folder, "en-US", (0.09, 0.09), utterances, (3, 3), set_name="en-US_guard", prompt_mode="auto", wrong_tag_rate=0.05))
    return build_report(
        "Greek telephony, first fine-tune", targets, guards, [compare_cells(*pair) for pair in targets], check_guards(guards),
        Training(run=run_result(), events=events()), folder / "report.html", history=history(),
    )  # fmt: skip
