"""The learning curve: what it answers, how sure it is, and when it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from asrcore.campaign.curve import LEVEL, Curve, Point, Refusal, fit
from asrcore.campaign.observe import outlook
from asrcore.campaign.table import drawing, more_hours

SHARED = 0.5  # of a test set's own luck, which moves all rounds together
HOURS = (5.0, 10.0, 20.0, 40.0, 80.0)


def law(hours: float, a: float = 30.0, b: float = 0.5, c: float = 8.0) -> float:
    return a * hours**-b + c


def noise(count: int, sd: float = 0.1) -> np.ndarray:
    return np.full((count, count), SHARED**2) + sd**2 * np.eye(count)


def points(*hours: float) -> list[Point]:
    return [Point(hours=h, percent=law(h)) for h in hours]


def fitted(*hours: float, sd: float = 0.1) -> Curve:
    found = fit(points(*hours), noise(len(hours), sd))
    assert isinstance(found, Curve)
    return found


def test_from_exact_points_the_next_gain_is_found() -> None:
    low, middle, high = fitted(*HOURS).gain(80, 160)
    true = law(80) - law(160)
    assert low < true < high
    assert middle == pytest.approx(true, abs=0.15)


def test_the_test_sets_own_luck_widens_the_error_but_not_the_gain() -> None:
    curve = fitted(*HOURS)
    error, gain = curve.error(160), curve.gain(80, 160)
    assert error[2] - error[0] > 1.5 * SHARED
    assert gain[2] - gain[0] < error[2] - error[0]


def test_more_noise_is_a_wider_interval() -> None:
    sharp, blunt = (fitted(*HOURS, sd=sd).gain(80, 160) for sd in (0.05, 1.0))
    assert blunt[2] - blunt[0] > 1.5 * (sharp[2] - sharp[0])


def test_a_gain_is_never_negative_and_farther_is_more() -> None:
    curve = fitted(*HOURS[:3])
    assert curve.gain(20, 40)[0] >= 0
    assert curve.gain(20, 80)[1] > curve.gain(20, 40)[1]
    assert curve.chance_gain_below(20, 40, 0.0) == 0.0
    assert curve.chance_gain_below(20, 40, 100.0) == pytest.approx(1.0)


def test_the_answer_does_not_depend_on_the_unit_of_the_hours() -> None:
    minutes = fit([Point(hours=60 * p.hours, percent=p.percent) for p in points(*HOURS)], noise(len(HOURS)))
    assert isinstance(minutes, Curve)
    assert minutes.gain(4800, 9600) == pytest.approx(fitted(*HOURS).gain(80, 160))


@pytest.mark.parametrize(
    ("hours", "why"),
    [((5.0, 10.0), "2 of at least 3"), ((5.0, 5.0, 10.0), "2 of at least 3"), ((10.0, 12.0, 15.0), "span less")],
)
def test_too_little_data_is_refused_with_the_reason(hours: tuple[float, ...], why: str) -> None:
    found = fit(points(*hours), noise(len(hours)))
    assert isinstance(found, Refusal)
    assert why in found.why
    assert why in (outlook(points(*hours), noise(len(hours)), 1.0).refused or "")


def test_the_same_points_give_the_same_numbers() -> None:
    assert fitted(*HOURS).gain(80, 160) == fitted(*HOURS).gain(80, 160)


def test_one_hundred_more_hours_are_answered_near_the_data_and_refused_far_from_it() -> None:
    asked = points(*HOURS)
    assert "points less (90 %" in more_hours(asked, fitted(*HOURS), 100)
    assert "not known: 1.08e+03 h is more than 4 times" in more_hours(asked, fitted(*HOURS), 1000)
    assert "not known: 1 of at least 3" in more_hours(asked[:1], fit(asked[:1], noise(1)), 100)


def test_the_outlook_looks_one_doubling_ahead_and_no_farther_than_the_budget() -> None:
    seen = outlook(points(*HOURS), noise(len(HOURS)), 1.0)
    assert (seen.hours_now, seen.hours_next, seen.refused) == (80, 160, None)
    assert seen.last_gain_points == pytest.approx(law(40) - law(80))
    assert outlook(points(*HOURS), noise(len(HOURS)), 1.0, most_hours=100).hours_next == 100
    assert outlook(points(*HOURS), noise(len(HOURS)), 1.0, most_hours=80).refused == "the budget allows no more data"


def test_the_drawing_shows_every_round_and_says_when_there_is_no_curve() -> None:
    drawn = drawing(points(*HOURS), fitted(*HOURS))
    assert sum(line.count("o") for line in drawn.splitlines()[:-3]) == len(HOURS)
    assert "no curve: 1 of at least 3" in drawing(points(5.0), fit(points(5.0), noise(1)))
    assert "No round" in drawing((), Refusal("none"))


def test_intervals_of_drawn_curves_cover_about_what_they_say() -> None:
    """A small check here; the wide one is the simulation (slow)."""
    rng, held = np.random.default_rng(9), 0
    runs = 60
    for _ in range(runs):
        a, b, c = rng.uniform(15, 40), rng.uniform(0.25, 0.9), rng.uniform(4, 12)
        seen = [Point(hours=h, percent=law(h, a, b, c) + e) for h, e in zip(HOURS, rng.normal(0, 0.25, len(HOURS)) + rng.normal(0, SHARED), strict=True)]
        found = fit(seen, noise(len(HOURS), 0.2))
        assert isinstance(found, Curve)
        low, _, high = found.gain(80, 160)
        held += low <= law(80, a, b, c) - law(160, a, b, c) <= high
    assert LEVEL - 0.12 <= held / runs <= 0.98
