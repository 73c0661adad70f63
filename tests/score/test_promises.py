"""What the docs promise about intervals, gate and guards, by simulation at a size where the promise itself can be told from its neighbours.

Seeds are fixed. Each bound is the promise plus two standard errors of the simulation, sqrt(p (1 - p) / runs).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from asrcore.score import bootstrap
from asrcore.score.power import words_to_show_kept
from asrcore.score.replay import LOSS_LEVEL, holm, judge_guard, p_of_loss
from tests.score import simulate

MARGIN = 1.0


@pytest.fixture
def fewer_replications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "REPLICATIONS", 1000)


def slack(promise: float, runs: int) -> float:
    return 2 * math.sqrt(promise * (1 - promise) / runs)


def kept_at_recommended_size(runs: int, pilot_clusters: int, rng: np.random.Generator) -> float:
    """How often a guard that lost nothing is proven kept at the size that a pilot of `pilot_clusters` asked for."""
    kept = 0
    for run in range(runs):
        pilot = simulate.guard(rng, pilot_clusters, 0.0, run)
        words = simulate.words_of(pilot)
        needed = words_to_show_kept(MARGIN, pilot.standard_error, words, pilot_clusters)
        clusters = math.ceil(pilot_clusters * needed / words)
        d = simulate.guard(rng, clusters, 0.0, runs + run)
        kept += judge_guard(d.estimate, d.upper(0.05), 1.0, MARGIN, clusters) == "kept"
    return kept / runs


@pytest.mark.usefixtures("fewer_replications")
def test_the_recommended_words_prove_an_unharmed_guard_kept_about_4_times_in_5() -> None:
    assert kept_at_recommended_size(80, 25, np.random.default_rng(40)) >= 0.8 - slack(0.8, 80)


@pytest.mark.slow
@pytest.mark.parametrize("pilot_clusters", [20, 50])
@pytest.mark.usefixtures("fewer_replications")
def test_the_recommended_words_prove_an_unharmed_guard_kept_at_least_80_times_in_100(pilot_clusters: int) -> None:
    runs = 1500
    share = kept_at_recommended_size(runs, pilot_clusters, np.random.default_rng(41))
    print(f"kept at the recommended words, pilot of {pilot_clusters}: {share:.3f}")
    assert share >= 0.8 - slack(0.8, runs)


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [20, 50, 200])
@pytest.mark.usefixtures("fewer_replications")
def test_the_95_percent_interval_holds_the_true_difference_93_to_97_times_in_100(clusters: int) -> None:
    runs = 2500
    rng = np.random.default_rng(42)
    covered = 0
    for run in range(runs):
        low, high = simulate.difference(rng, clusters, base=0.1, loss=0.01, seed=run).interval()
        covered += low <= 1.0 <= high
    print(f"coverage at {clusters} clusters: {covered / runs:.4f}")
    assert 0.93 <= covered / runs <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("clusters", "runs"), [(20, 10_000), (50, 10_000), (200, 2500)])
@pytest.mark.usefixtures("fewer_replications")
def test_a_guard_that_loses_exactly_the_margin_is_called_kept_at_most_5_times_in_100(clusters: int, runs: int) -> None:
    rng = np.random.default_rng(43)
    kept = sum(
        judge_guard(d.estimate, d.upper(0.05), 1.0, MARGIN, clusters) == "kept"
        for d in (simulate.guard(rng, clusters, MARGIN / 100, run) for run in range(runs))
    )
    print(f"kept at a loss of the margin, {clusters} clusters: {kept / runs:.4f}")
    assert kept / runs <= 0.05 + slack(0.05, runs)


def false_alarms(clusters: int, runs: int, seed: int) -> tuple[float, float]:
    """Shares of calls over 40 guards that lost nothing in which one is called forgotten, and in which a loss is shown at all.

    Bootstraps, with all 10,000 replications, only guards that may matter: a loss is shown first where its p-value is below 5 % / 40, and
    `p_of_loss` is never below that of the plain t test, here with four times as much room.
    """
    guards = 40
    rng = np.random.default_rng(seed)
    alarms = losses = 0
    for run in range(runs):
        found = simulate.suspects(rng, clusters, guards, 4 * 0.05 / guards, run * guards)
        corrected = holm([*map(p_of_loss, found), *[1.0] * (guards - len(found))])
        losses += any(p < LOSS_LEVEL for p in corrected)
        alarms += any(
            judge_guard(d.estimate, d.upper(0.05), p, 0.5, clusters) == "forgotten" for d, p in zip(found, corrected[: len(found)], strict=True)
        )
    return alarms / runs, losses / runs


def test_among_40_guards_that_lost_nothing_one_is_seldom_called_forgotten() -> None:
    alarms, losses = false_alarms(20, 300, 44)
    assert alarms <= losses <= 0.05 + 1.5 * slack(0.05, 300)


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [20, 50])
def test_among_40_guards_that_lost_nothing_one_is_called_forgotten_at_most_5_times_in_100(clusters: int) -> None:
    runs = 5000
    alarms, losses = false_alarms(clusters, runs, 45)
    print(f"40 null guards of {clusters} clusters: forgotten {alarms:.4f}, a loss shown {losses:.4f}")
    assert alarms <= losses <= 0.05 + slack(0.05, runs)
