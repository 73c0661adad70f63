"""Slices, terms, style, times, diffs and what is needed to repeat the numbers: shown where the evals carry them, safe with any text."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from asrcore.report import build_report
from asrcore.report.canvas import Point
from asrcore.report.heard import missed_terms
from asrcore.report.training import running_mean
from asrcore.requests import EvalCell
from asrcore.score import compare_cells
from asrcore.score.hypotheses import pair_up
from tests.report.pages import both, extras, full_page
from tests.score.evals import BASE, TUNED, cell, hypotheses

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
HOSTILE = f"<script>alert(1)</script><img src=x onerror=alert(1)>{BIDI}\"'&lt; ]]> --> \x00\x1b[31m"
REFS = [f"please call {n} the number of the station" for n in range(40)]


def parsed(path: Path) -> ET.Element:
    return ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314


def words(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def headings(page: ET.Element) -> list[str]:
    return [words(e) for e in page.iter("h2")]


def rows(page: ET.Element, caption: str) -> list[list[str]]:
    table = next(e for e in page.iter("table") if e.get("aria-label") == caption)
    return [[words(c) for c in row] for row in table.iter("tr")]


def pair(
    folder: Path, refs: list[str], base: list[str], tuned: list[str], locale: str = "en-US", **changes: Any
) -> tuple[EvalCell, EvalCell]:
    return cell(folder, BASE, hypotheses(refs, base, locale=locale), **changes), cell(
        folder, TUNED, hypotheses(refs, tuned, locale=locale), **changes
    )


def report(folder: Path, *pairs: tuple[EvalCell, EvalCell], **changes: Any) -> Path:
    return build_report("t", list(pairs), [], [compare_cells(*p) for p in pairs], None, None, folder / "report.html", **changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return full_page(tmp_path_factory.mktemp("whole"), utterances=60)


class Tags(HTMLParser):
    """What an HTML parser, which forgives more than XML, makes of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.addresses += [
            f"{name}={value}" for name, value in attrs if name in {"src", "href", "srcset", "action", "data", "poster", "srcdoc"}
        ]


def tags(path: Path) -> Tags:
    found = Tags()
    found.feed(path.read_text(encoding="utf-8"))
    return found


def test_an_html_parser_finds_no_script_and_no_address_to_load(whole: Path) -> None:
    found = tags(whole)
    assert not found.tags.keys() & {"script", "link", "iframe", "img", "object", "embed", "form", "base", "audio"}
    assert found.addresses == []


def test_sections_that_the_evals_carry_are_on_the_page_in_the_order_of_the_questions(whole: Path) -> None:
    assert headings(parsed(whole))[3:] == [
        "Target", "Base and tuned by language", "Other languages", "Kinds of errors", "Slices", "Listed terms", "Punctuation and casing",
        "Language tags in auto", "Utterances", "Rounds", "Training", "Decoding", "What this rests on",
    ]  # fmt: skip


def test_sections_without_data_are_left_out(tmp_path: Path) -> None:
    page = parsed(report(tmp_path, both(tmp_path, "en-US", (0.3, 0.2), 40)))
    assert headings(page)[2:] == ["Target", "Kinds of errors", "Utterances", "What this rests on"]


def test_the_worst_value_of_each_slice_is_marked_by_more_than_colour_and_small_ones_stand_last(whole: Path) -> None:
    found = rows(parsed(whole), "By channel")
    assert found[0] == ["value", "utterances", "words", "base", "tuned", "change"]
    assert [row[0] for row in found[1:]] == ["حديقة <b>▲ worst", "mobile", "landline", "x" * 80 + "few words"]
    assert rows(parsed(whole), "By speaker_age")[1][0] == "60+▲ worst"


def test_one_sided_slices_say_whose_they_are(tmp_path: Path) -> None:
    page = parsed(report(tmp_path, both(tmp_path, "en-US", (0.3, 0.2), 40, tuned_extra={"slices": extras(20.0)["slices"]})))
    assert rows(page, "By channel")[0] == ["value", "utterances", "words", "rate"]
    assert "Rates of the tuned model only" in words(page)


def test_style_terms_tags_times_and_parity_show_their_numbers_with_the_system(whole: Path) -> None:
    page = parsed(whole)
    assert rows(page, "Punctuation and casing")[1][1:] == ["56.0", "22.4", "412", "12.0", "4.8", "390"]
    assert rows(page, "Listed terms")[1][1:] == ["base", "3", "95", "60.0", "99.0", "80.0"]
    assert rows(page, "Latency in milliseconds")[1][1:] == ["base", "16", "20.0 ×", "2133 · 49", "2535 · 51", "480960 · 1280"]
    assert rows(page, "Wrong tags of the target sets")[1][1:] == ["10 %", "10 %", "60"]
    assert rows(page, "Change of language within an utterance")[1][1:] == ["46 %", "71 %", "51.045.9 to 56.1", "33.330.0 to 36.6", "24", "52"]
    assert rows(page, "Fast engine against exact")[1][3:] == ["160", "99.4", "+0.02", "equivalent"]


def test_every_eval_behind_the_page_is_listed_with_what_it_takes_to_repeat_it(whole: Path) -> None:
    page = parsed(whole)
    listed = rows(page, "Evals behind this page")
    ids = {file.stem for file in whole.parent.glob("eval_*.jsonl")}
    assert {row[0] for row in listed[1:]} == ids
    assert listed[1][1:] == ["base", "greek phone test", "[56, 0]", "80 ms", "langID", "exact/1", "16"]
    facts = words(next(e for e in page.iter("dl") if e.get("class") == "facts"))
    for wanted in ("b" * 16, "c" * 16, "asrtune-basic/", "torch 2.13", "comparison_", "replay_", "run_0123456789ab", "seed 0"):
        assert wanted in facts


def test_the_condition_stands_where_single_utterances_and_slices_are_shown(whole: Path) -> None:
    condition = "greek phone test, 80 ms chunks (att_context_size [56, 0]), prompt langID, engine exact/1, batch 16."
    assert words(parsed(whole)).count(condition) == 3  # slices, missed terms, utterances


def test_missed_terms_say_what_was_written_in_their_place(tmp_path: Path) -> None:
    refs = [*(["call doctor Amoxi please"] * 5), *REFS]
    base = [*(["call doctor please"] * 5), *REFS]
    tuned = [
        "call a doctor oxy please",
        "call doctor oxy please",
        "call doctor please",
        "call doctor amoxi please",
        "call doctor Amoxi please",
        *REFS,
    ]
    cells = pair(tmp_path, refs, base, tuned)
    (found,) = missed_terms(pair_up(*cells, seed=0), ["Amoxi", "station"])
    assert (found.term, found.spoken, found.base_missed, found.tuned_missed) == ("Amoxi", 5, 5, 3)
    assert found.instead == (("oxy", 2), ("", 1))


def test_a_term_of_several_words_is_missed_as_a_whole(tmp_path: Path) -> None:
    refs = ["go to Green Lake Street now", *REFS]
    cells = pair(tmp_path, refs, refs, ["go to green leg street now", *REFS])
    (found,) = missed_terms(pair_up(*cells, seed=0), ["Green Lake Street"])
    assert found.instead == (("green leg street", 1),)


@pytest.mark.parametrize("locale", ["en-US", "ja-JP", "ar-EG"])
def test_hostile_transcripts_of_any_length_stay_short_harmless_text(tmp_path: Path, locale: str) -> None:
    refs = [f"{HOSTILE} station", "w" * 10_000, "a" + "\u0301" * 5000, *REFS]
    said = ["", f"{HOSTILE}{'x' * 10_000} y", " ".join(["z"] * 5000), *REFS]
    evil = pair(
        tmp_path,
        refs,
        REFS[:3] + REFS,
        said,
        locale=locale,
        set_name=HOSTILE,
        terms=extras(9.0)["terms"].model_copy(update={"missed": (HOSTILE, "station")}),
    )
    path = report(tmp_path, evil)
    assert path.stat().st_size < 100_000
    source = path.read_text(encoding="utf-8")
    assert not set(source) & set(BIDI + "\x00\x1b")
    assert not tags(path).tags.keys() & {"script", "img"}
    assert parsed(path).tag == "html"


def test_every_word_pair_of_a_substitution_stands_together(tmp_path: Path) -> None:
    refs = ["red green blue", *REFS]
    page = parsed(report(tmp_path, pair(tmp_path, refs, refs, ["red grey black", *REFS])))
    pairs = [[words(part) for part in e] for e in page.iter("span") if e.get("class") == "sub"]
    assert ["green", "grey"] in pairs
    assert ["blue", "black"] in pairs


def test_joiners_that_persian_and_hindi_spelling_needs_are_kept(tmp_path: Path) -> None:
    refs = ["می\u200cخواهم بروم", *REFS]
    page = parsed(report(tmp_path, pair(tmp_path, refs, refs, ["بروم", *REFS], locale="fa-IR")))
    shown = [e for e in page.iter("dd") if "می\u200cخواهم" in words(e)]
    assert shown
    assert {e.get("dir") for e in shown} == {"rtl"}
    assert all(next(iter(e)).tag == "bdi" for e in shown)


def test_the_running_mean_does_not_lag() -> None:
    line = [Point(float(n), 2.0 * n) for n in range(50)]
    smooth = running_mean(line, 9)
    assert smooth[4:-4] == line[4:-4]
    assert (smooth[0].y, smooth[-1].y) == (4.0, 94.0)
