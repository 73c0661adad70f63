"""What the docs promise about intervals, gate and guards, by simulation at a size where the promise itself can be told from its neighbours.

Seeds are fixed. Each bound is the promise plus two standard errors of the simulation, sqrt(p (1 - p) / runs).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from asrcore.score import bootstrap
from asrcore.score.power import words_to_show_kept
from asrcore.score.replay import holm, judge_guard, p_of_loss
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
@pytest.mark.parametrize("clusters", [20, 50, 200])
@pytest.mark.usefixtures("fewer_replications")
def test_a_guard_that_loses_exactly_the_margin_is_called_kept_at_most_5_times_in_100(clusters: int) -> None:
    runs = 2500
    rng = np.random.default_rng(43)
    kept = sum(
        judge_guard(d.estimate, d.upper(0.05), 1.0, MARGIN, clusters) == "kept"
        for d in (simulate.guard(rng, clusters, MARGIN / 100, run) for run in range(runs))
    )
    print(f"kept at a loss of the margin, {clusters} clusters: {kept / runs:.4f}")
    assert kept / runs <= 0.05 + slack(0.05, runs)


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [20, 50])
def test_among_40_guards_that_lost_nothing_one_is_called_forgotten_at_most_5_times_in_100(clusters: int) -> None:
    """All 10,000 replications: with fewer no p-value can be small enough for 40 tests at once."""
    runs, guards = 400, 40
    rng = np.random.default_rng(44)
    alarms = losses = 0
    for run in range(runs):
        found = [simulate.guard(rng, clusters, 0.0, run * guards + k) for k in range(guards)]
        corrected = holm([p_of_loss(d) for d in found])
        losses += any(p < 0.05 for p in corrected)
        alarms += any(
            judge_guard(d.estimate, d.upper(0.05), p, 0.5, clusters) == "forgotten" for d, p in zip(found, corrected, strict=True)
        )
    print(f"40 null guards of {clusters} clusters: forgotten {alarms / runs:.4f}, a loss shown {losses / runs:.4f}")
    assert alarms / runs <= 0.05 + slack(0.05, runs)
    assert losses / runs <= 0.05 + slack(0.05, runs)
