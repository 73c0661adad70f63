"""The page as a browser shows it, light and dark, in a wide and a narrow window: nothing clipped, nothing overlapping, everything legible."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from tests.report.browser import CHROMIUM, WIDTHS, measure
from tests.report.pages import full_page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt install chromium)")]

LEAST_CONTRAST = 4.5
"""WCAG 2.2, success criterion 1.4.3 (AA), for text of any size."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("browser")
    page = full_page(folder)
    return {scheme: measure(page, folder, dark=scheme == "dark") for scheme in ("light", "dark")}


def views(shown: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{scheme} {width}", shown[scheme][width]) for scheme in shown for width in WIDTHS]


def test_the_page_fits_its_window_and_no_text_is_clipped(shown: dict[str, dict[str, Any]]) -> None:
    for name, view in views(shown):
        assert view["needed"] <= view["width"] == WIDTHS[name.split()[1]], name
        assert view["clipped"] == [], name


def test_the_browser_asked_for_dark_gets_another_page(shown: dict[str, dict[str, Any]]) -> None:
    light, dark = (shown[scheme]["wide"] for scheme in ("light", "dark"))
    assert (light["dark"], dark["dark"]) == (False, True)
    assert luminance(rgb(light["background"])) > 0.8 > 0.1 > luminance(rgb(dark["background"]))


def test_every_plot_is_drawn_within_the_window_and_its_labels_stay_inside_and_apart(shown: dict[str, dict[str, Any]]) -> None:
    for name, view in views(shown):
        assert len(view["plots"]) == 8, name
        for plot in view["plots"]:
            box = plot["box"]
            assert min(box["width"], box["height"]) > 100, (name, plot["title"])
            assert box["right"] <= view["width"], (name, plot["title"], "needs scrolling")
            for text in plot["texts"]:
                assert box["left"] - 1 <= text["left"], (name, plot["title"], text)
                assert text["right"] <= box["right"] + 1, (name, plot["title"], text)
                assert box["top"] - 3 <= text["top"], (name, plot["title"], text)
                assert text["bottom"] <= box["bottom"] + 3, (name, plot["title"], text)
            touching = [(a["words"], b["words"]) for a, b in itertools.combinations(plot["texts"], 2) if overlap(a, b)]
            assert touching == [], (name, plot["title"])


def test_all_text_has_enough_contrast_in_both_schemes(shown: dict[str, dict[str, Any]]) -> None:
    weak = {}
    for name, view in views(shown):
        assert len(view["inks"]) > 15
        for found in view["inks"]:
            ground = found["ground"]
            over, under = rgb(ground["over"]), rgb(ground["under"])
            behind = tuple(ground["opacity"] * o + (1 - ground["opacity"]) * u for o, u in zip(over, under, strict=True))
            ratio = contrast(rgb(found["ink"]), behind)
            if ratio < LEAST_CONTRAST:
                weak[name, found["at"]] = round(ratio, 2)
    assert weak == {}


def overlap(a: dict[str, float], b: dict[str, float]) -> bool:
    """Boxes hold the whole line height; letters fill about the middle half of it."""
    trim_a, trim_b = 0.25 * a["height"], 0.25 * b["height"]
    return (
        min(a["right"], b["right"]) - max(a["left"], b["left"]) > 1
        and min(a["bottom"] - trim_a, b["bottom"] - trim_b) - max(a["top"] + trim_a, b["top"] + trim_b) > 0
    )


def rgb(colour: str) -> tuple[float, ...]:
    found = re.fullmatch(r"rgba?\((\d+), (\d+), (\d+)(?:, [\d.]+)?\)", colour)
    assert found, colour
    return tuple(map(float, found.groups()))


def luminance(colour: tuple[float, ...]) -> float:
    """Relative luminance (WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance)."""
    linear = [c / 12.92 if (c := value / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for value in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(ink: tuple[float, ...], ground: tuple[float, ...]) -> float:
    dark, light = sorted((luminance(ink), luminance(ground)))
    return (light + 0.05) / (dark + 0.05)
