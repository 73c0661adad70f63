"""The clustered bootstrap: which clusters, what the bounds cover, what the few-errors floor refuses to claim.

The simulations draw whole data sets with cluster effects and have fixed seeds; their tolerances are about three standard errors of the
simulation beside the level that the docstring of `bootstrap` leads one to expect. The same at full size: `test_promises.py`.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from asrcore.errors import NotReadyError
from asrcore.score import bootstrap, with_ci
from asrcore.score.bootstrap import Clusters, cluster, draws, resample
from tests.score.evals import hypotheses
from tests.score.simulate import difference

RUNS = 300


@pytest.fixture
def fewer_replications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "REPLICATIONS", 1000)


@pytest.mark.parametrize(("clusters", "least"), [(20, 0.91), (50, 0.92)])
@pytest.mark.usefixtures("fewer_replications")
def test_the_95_percent_interval_holds_the_true_difference_about_95_times_in_100(clusters: int, least: float) -> None:
    rng = np.random.default_rng(20)
    covered = 0
    for run in range(RUNS):
        low, high = difference(rng, clusters, base=0.1, loss=0.01, seed=run).interval()
        covered += low <= 1.0 <= high
    assert least <= covered / RUNS <= 0.985


@pytest.mark.usefixtures("fewer_replications")
def test_p_values_of_no_loss_are_small_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(21)
    small = sum(difference(rng, 40, base=0.1, loss=0.0, seed=run).p_above_zero() < 0.05 for run in range(RUNS))
    assert 0.01 <= small / RUNS <= 0.085


def test_bounds_and_p_values_are_two_views_of_one_test() -> None:
    rng = np.random.default_rng(22)
    for run in range(25):
        d = difference(rng, 25, base=0.1, loss=0.015, seed=run)
        p = d.p_above_zero()
        if 0.005 < p < 0.4:
            assert d.lower(p * 0.9) <= 0.0 <= d.lower(min(0.5, p * 1.1))


def test_the_interval_at_20_clusters_is_wider_than_the_plain_percentile_interval() -> None:
    d = difference(np.random.default_rng(23), 20, base=0.1, loss=0.01, seed=0)
    low, high = np.quantile(d.replications, [0.025, 0.975])
    assert d.interval()[0] < low
    assert high < d.interval()[1]


def test_words_on_which_nothing_changed_do_not_prove_that_nothing_can() -> None:
    """Rule of three: 0 errors in 300 words leave room for 1 in 100."""
    words = np.full(30, 10)
    zero = np.zeros(30, dtype=np.int64)
    found = Clusters("sentence", np.arange(30), 30, ())
    d = draws(resample([zero, zero], words, found, 0)[1], zero, words, found)
    assert d.upper(0.05) == pytest.approx(-math.log(0.05) / 3)
    assert d.interval() == pytest.approx((math.log(0.025) / 3, -math.log(0.025) / 3))
    assert d.p_above_zero() == d.p_below_zero() == 1.0
    assert d.share_below_zero() == 0.5


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others() -> None:
    rng = np.random.default_rng(24)
    words, errors = rng.integers(5, 20, size=(2, 60))
    found = Clusters("speaker", np.arange(60) // 2, 30, ())
    first, again, other = (resample([errors], words, found, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_both_systems_are_seen_through_the_same_draws() -> None:
    rng = np.random.default_rng(25)
    words, errors = rng.integers(5, 20, size=(2, 40))
    found = Clusters("speaker", np.arange(40), 40, ())
    rates = resample([errors, errors + words], words, found, 0)
    assert rates[1] - rates[0] == pytest.approx(100.0)


@pytest.mark.parametrize("picks_a_count", [0, 1_000])
def test_both_samplers_match_drawing_every_cluster_one_by_one(picks_a_count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters with equal sums drawn together, or all picked: mean and spread must be those of the plain bootstrap."""
    monkeypatch.setattr(bootstrap, "_PICKS_A_COUNT", picks_a_count)
    errors = np.array([0] * 40 + [1] * 15 + [7] * 5)
    words = np.array([10] * 55 + [20] * 5)
    found = Clusters("sentence", np.arange(60), 60, ())
    fast = resample([errors], words, found, 0)[0]
    picks = np.random.default_rng(0).integers(0, 60, size=(bootstrap.REPLICATIONS, 60))
    slow = 100 * errors[picks].sum(1) / words[picks].sum(1)
    assert fast.mean() == pytest.approx(slow.mean(), rel=0.02)
    assert fast.std() == pytest.approx(slow.std(), rel=0.04)
    assert np.quantile(fast, [0.05, 0.5, 0.95]) == pytest.approx(np.quantile(slow, [0.05, 0.5, 0.95]), rel=0.04)


def test_clustered_errors_give_a_wider_interval_than_the_same_errors_taken_as_independent() -> None:
    texts = ["x x x" if n % 25 < 5 else "a b c" for n in range(250)]  # five speakers get everything wrong
    by_speaker = with_ci(hypotheses(["a b c"] * 250, texts, speakers=25), normalised=True)
    alone = with_ci(hypotheses(["a b c"] * 250, texts, speakers=250), normalised=True)
    assert by_speaker.ci95 is not None
    assert alone.ci95 is not None
    assert by_speaker.percent == alone.percent == pytest.approx(20.0)
    assert by_speaker.ci95[1] - by_speaker.ci95[0] > 2 * (alone.ci95[1] - alone.ci95[0])


def test_speakers_are_the_clusters_from_20_on_and_sentences_with_a_warning_below() -> None:
    texts = [f"word {n % 8}" for n in range(60)]
    assert (cluster(hypotheses(texts, texts, speakers=20)).kind, cluster(hypotheses(texts, texts, speakers=20)).count) == ("speaker", 20)
    few = cluster(hypotheses(texts, texts, speakers=19))
    assert (few.kind, few.count, [w.code for w in few.warnings]) == ("sentence", 8, ["few_speakers"])


def test_one_utterance_without_a_speaker_makes_sentences_the_clusters() -> None:
    rows = hypotheses(["a"] * 60, ["a"] * 60, speakers=30)
    rows[7] = rows[7].model_copy(update={"speaker": None})
    assert cluster(rows).kind == "sentence"


def test_sentences_are_the_same_when_they_are_read_the_same() -> None:
    assert cluster(hypotheses(["Hello, you.", "hello you", "Bye"], [""] * 3, speakers=0)).count == 2


def test_a_perfect_score_has_an_upper_limit_above_zero_and_one_cluster_has_no_interval() -> None:
    texts = [f"word number {n}" for n in range(50)]
    ci = with_ci(hypotheses(texts, texts), normalised=True).ci95
    assert ci is not None
    assert ci[0] == 0.0
    assert ci[1] == pytest.approx(-math.log(0.025) / 1.5)
    assert with_ci(hypotheses(["same"] * 5, ["same"] * 5, speakers=0), normalised=True).ci95 is None


def test_empty_references_are_named_by_manifest_line() -> None:
    rows = hypotheses(["a", "b", "?"], ["a", "b", "c"])
    rows[2] = rows[2].model_copy(update={"line": 17})
    with pytest.raises(NotReadyError) as caught:
        with_ci(rows, normalised=True)
    assert [p.line for p in caught.value.problems] == [17]
