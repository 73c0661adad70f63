"""The replay check: kept, forgotten or inconclusive, at the error rates it promises."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from asrcore.errors import NotReadyError, UsageError
from asrcore.requests import EvalCell
from asrcore.score import bootstrap, check_guards
from asrcore.score.power import chance_to_show_kept, words_to_show_difference, words_to_show_kept
from asrcore.score.replay import default_margin, holm, judge_guard, overall, p_of_loss
from tests.score import simulate
from tests.score.evals import BASE, TUNED, cell, hypotheses

RUNS = 300


def guard(
    folder: Path, name: str, base_share: float, tuned_share: float, utterances: int = 300, locale: str = "en-US", seed: int = 0
) -> tuple[EvalCell, EvalCell]:
    """A pair whose transcripts have about these shares of wrong words; a word wrong in base stays wrong in tuned where it can."""
    rng = random.Random(f"{name} {seed}")
    refs = [" ".join(rng.choices("the line is busy please call back".split(), k=8)) for _ in range(utterances)]
    luck = [[rng.random() for _ in range(8)] for _ in refs]

    def texts(share: float) -> list[str]:
        return [
            " ".join("x" if u < share else w for w, u in zip(ref.split(), row, strict=True)) for ref, row in zip(refs, luck, strict=True)
        ]

    return (
        cell(folder, BASE, hypotheses(refs, texts(base_share), locale), set_name=name),
        cell(folder, TUNED, hypotheses(refs, texts(tuned_share), locale), set_name=name),
    )


@pytest.fixture
def fewer_replications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "REPLICATIONS", 1000)


@pytest.mark.parametrize("clusters", [20, 50])
@pytest.mark.usefixtures("fewer_replications")
def test_a_guard_that_loses_exactly_the_margin_is_called_kept_about_5_times_in_100(clusters: int) -> None:
    rng = np.random.default_rng(30)
    kept = sum(
        judge_guard(d.estimate, d.upper(0.05), 1.0, 1.0, clusters) == "kept"
        for d in (simulate.guard(rng, clusters, 0.01, run) for run in range(RUNS))
    )
    assert kept / RUNS <= 0.08  # 5 % and about three standard errors of the simulation


@pytest.mark.usefixtures("fewer_replications")
def test_with_ten_guards_that_lost_nothing_a_false_alarm_is_rare() -> None:
    """Holm: at most 5 in 100 calls may name any guard; the estimate must also exceed the margin, so far fewer do."""
    rng = np.random.default_rng(31)
    alarms = rejections = 0
    for run in range(60):
        found = [simulate.guard(rng, 30, 0.0, run * 10 + k) for k in range(10)]
        corrected = holm([p_of_loss(d) for d in found])
        rejections += any(p < 0.05 for p in corrected)
        alarms += any(judge_guard(d.estimate, d.upper(0.05), p, 0.5, 30) == "forgotten" for d, p in zip(found, corrected, strict=True))
    assert rejections / 60 <= 0.15  # 5 % and three standard errors
    assert alarms <= rejections


@pytest.mark.usefixtures("fewer_replications")
def test_the_stated_power_is_how_often_an_unharmed_guard_is_proven_kept() -> None:
    rng = np.random.default_rng(32)
    kept = 0
    stated: list[float] = []
    for run in range(RUNS):
        d = simulate.guard(rng, 40, 0.0, run)
        words = simulate.words_of(d)
        kept += d.upper(0.05) < 1.0
        stated.append(chance_to_show_kept(1.0, d.standard_error, words, 40))
    assert kept / RUNS == pytest.approx(np.mean(stated), abs=0.08)
    assert 0.2 < kept / RUNS < 0.95


def test_more_words_bring_the_stated_power_to_80_percent() -> None:
    needed = words_to_show_kept(0.5, standard_error=0.6, words=2000, clusters=10_000)
    assert chance_to_show_kept(0.5, 0.6 * (2000 / needed) ** 0.5, needed, 10_000) == pytest.approx(0.8, abs=0.02)
    assert chance_to_show_kept(0.5, 0.6, 2000, 10_000) < 0.3


def test_too_few_words_prove_nothing_even_without_a_single_change() -> None:
    assert chance_to_show_kept(0.5, 0.0, words=300, clusters=40) == 0.0
    assert chance_to_show_kept(0.5, 0.0, words=700, clusters=40) == 1.0
    assert 600 <= words_to_show_kept(0.5, 0.0, 300, 40) <= 610


def test_a_standard_error_from_few_clusters_asks_for_more_words_than_the_same_from_many() -> None:
    few, many = words_to_show_kept(0.5, 0.6, 2000, 20), words_to_show_kept(0.5, 0.6, 2000, 10_000)
    assert few == pytest.approx(1.14 * many, rel=0.05)  # (1.774 + 0.883)² / (1.645 + 0.842)²


def test_under_ten_clusters_there_is_no_power_and_the_words_of_ten_are_asked_for() -> None:
    assert chance_to_show_kept(0.5, 0.01, words=5000, clusters=9) == 0.0
    assert words_to_show_kept(5.0, 0.01, words=5000, clusters=5) == 10_000


def test_words_for_a_difference_grow_as_it_shrinks_and_none_are_promised_for_zero() -> None:
    large, small = (words_to_show_difference(delta, 0.8, 1000, 50) for delta in (1.0, 0.5))
    assert large is not None
    assert small is not None
    assert small == pytest.approx(4 * large, rel=0.05)
    assert words_to_show_difference(0.0, 0.8, 1000, 50) is None


def test_unharmed_guards_are_kept_and_a_harmed_one_is_forgotten(tmp_path: Path) -> None:
    same, harmed = guard(tmp_path, "same", 0.10, 0.10), guard(tmp_path, "harmed", 0.10, 0.25)
    report = check_guards([same, harmed])
    assert [g.verdict for g in report.guards] == ["kept", "forgotten"]
    assert report.verdict == "forgotten"
    assert check_guards([same]).verdict == "kept"
    kept, lost = report.guards
    assert kept.bounds95[1] < kept.margin_points
    assert lost.bounds95[0] > 0
    assert lost.p_loss_holm == pytest.approx(min(1.0, 2 * lost.p_loss))
    assert report.power_all == pytest.approx(kept.power * lost.power)


def test_a_small_guard_is_inconclusive_and_says_what_it_would_take(tmp_path: Path) -> None:
    report = check_guards([guard(tmp_path, "tiny", 0.10, 0.11, utterances=30)])
    [tiny] = report.guards
    assert (report.verdict, tiny.verdict) == ("inconclusive", "inconclusive")
    assert tiny.power < 0.8
    assert tiny.words_needed > tiny.words
    assert tiny.more_words == pytest.approx(tiny.words_needed - tiny.words, rel=0.1)


def test_one_inconclusive_guard_keeps_the_whole_from_being_kept(tmp_path: Path) -> None:
    report = check_guards([guard(tmp_path, "same", 0.1, 0.1), guard(tmp_path, "tiny", 0.1, 0.1, utterances=20)])
    assert [g.verdict for g in report.guards] == ["kept", "inconclusive"]
    assert report.verdict == "inconclusive"
    assert overall(["kept", "kept"]) == "kept"
    assert overall(["forgotten", "inconclusive"]) == "forgotten"


def test_a_small_loss_within_the_margin_is_kept_even_when_it_is_real(tmp_path: Path) -> None:
    [result] = check_guards([guard(tmp_path, "slight", 0.10, 0.12)], margin_points=5.0).guards
    assert result.verdict == "kept"
    assert result.p_loss < 0.05


def test_the_default_margin_is_half_a_point_or_5_percent_of_the_base() -> None:
    assert (default_margin(4.0), default_margin(10.0), default_margin(30.0)) == (0.5, 0.5, 1.5)


def test_a_loss_below_the_margin_is_never_called_forgotten() -> None:
    assert judge_guard(loss=0.4, upper=0.9, p_holm=0.001, margin=0.5, clusters=50) == "inconclusive"
    assert judge_guard(loss=0.6, upper=0.9, p_holm=0.001, margin=0.5, clusters=50) == "forgotten"
    assert judge_guard(loss=0.6, upper=0.9, p_holm=0.051, margin=0.5, clusters=50) == "inconclusive"
    assert judge_guard(loss=-5.0, upper=-1.0, p_holm=1.0, margin=0.5, clusters=9) == "inconclusive"


@pytest.mark.parametrize(
    ("given", "adjusted"),
    [([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.5], [0.5]), ([0.9, 0.8], [1.0, 1.0]), ([], [])],
)
def test_holm_p_values_step_down(given: Sequence[float], adjusted: Sequence[float]) -> None:
    assert holm(given) == pytest.approx(adjusted)


def test_bad_calls_are_refused(tmp_path: Path) -> None:
    pair, other = guard(tmp_path, "one", 0.1, 0.1, utterances=30), guard(tmp_path, "two", 0.1, 0.1, utterances=30)
    with pytest.raises(UsageError, match="no_guards"):
        check_guards([])
    for margin in (0.0, -1.0, float("nan"), float("inf"), 101.0):
        with pytest.raises(UsageError, match="margin_invalid"):
            check_guards([pair], margin)
    with pytest.raises(NotReadyError, match="checkpoints_mixed"):
        check_guards([pair, (other[1], other[1])])
    with pytest.raises(NotReadyError, match="sets_differ"):
        check_guards([(pair[0], other[1])])
