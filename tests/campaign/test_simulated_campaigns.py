"""How often the engine is right, over campaigns whose truth is known. The bars are the project's; seeds 501 to 1000 were run once (docs/concepts/loop.md)."""

from __future__ import annotations

import pytest

from tests.campaign.simulate import Tally, World, run

CAMPAIGNS = 500


def test_a_simulated_campaign_ends_and_the_same_seed_ends_it_the_same_way() -> None:
    first, again = (run([3]).figures() for _ in range(2))
    assert first == again
    assert World(3).plateau >= 0


@pytest.mark.slow
def test_over_five_hundred_campaigns_the_engine_keeps_its_bars() -> None:
    tally: Tally = run(range(1, CAMPAIGNS + 1))
    figures = tally.figures()
    assert tally.wrong <= 0.05 * tally.promotions, figures
    assert tally.wrong <= 0.05 * tally.wrong_possible, figures
    assert tally.missed <= 0.20 * tally.due, figures
    assert tally.at_plateau >= 0.80 * tally.plateaus, figures
    assert 0.87 <= tally.gains_held / tally.intervals <= 0.95, figures
    assert 0.87 <= tally.errors_held / tally.intervals <= 0.95, figures


@pytest.mark.slow
def test_where_data_brings_nothing_hardly_anything_is_promoted() -> None:
    """The hard case: every candidate is as good as the base, so each promotion is wrong."""
    tally = run(range(1, 301), brings=False)
    assert tally.wrong_possible >= 300
    assert tally.wrong <= 0.05 * tally.wrong_possible, tally.figures()
