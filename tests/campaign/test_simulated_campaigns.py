"""How often the engine is right, over campaigns whose truth is known. The bars are the project's; seeds 501 to 1000 are kept for one run at the end."""

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
