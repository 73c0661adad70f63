"""The HTML page: well-formed, alone, safe with hostile transcripts, and with the numbers of the verdicts it shows."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import pytest

from asrcore.errors import NotReadyError, ToolFault, UsageError
from asrcore.report import Training, build_report
from asrcore.report.markup import el, join, text
from asrcore.report.numbers import count, p_value, signed, span, ticks
from asrcore.requests import Candidate, CheckpointRef, Consumed, EvalCell, Event, TrainResult
from asrcore.score import NORMALISER, check_guards, compare_cells
from tests.score.evals import BASE, TUNED, cell, hypotheses

Pairs = list[tuple[EvalCell, EvalCell]]
REFS = [" ".join(random.Random(n).choices("the line is busy please call back".split(), k=8)) for n in range(120)]
HOSTILE = '</dd></main><script>alert(1)</script><img src=x onerror=alert(1)> "quoted" &amp; \u202eevil\u202c <!-- ]]> {{x}} \x07'
ALLOWED_TAGS = set("html head meta title style body main header section h1 h2 h3 p span small div ul li i b table thead tbody tr th td details summary "
                   "article dl dt dd del ins bdi code footer svg desc g line circle rect polyline polygon text".split())  # fmt: skip


def texts(share: float, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [" ".join("x" if rng.random() < share else w for w in ref.split()) for ref in REFS]


def pair(
    folder: Path, base: Sequence[str], tuned: Sequence[str], refs: Sequence[str] = REFS, source: str | None = None, **changes: object
) -> tuple[EvalCell, EvalCell]:
    def rows(side: Sequence[str]) -> list:
        return hypotheses(refs, side, locale=str(changes.get("locale", "en-US")), source=source)

    rest = {key: value for key, value in changes.items() if key != "locale"}
    return cell(folder, BASE, rows(base), **rest), cell(folder, TUNED, rows(tuned), **rest)  # type: ignore[arg-type]


def run_result() -> TrainResult:
    return TrainResult(
        run_id="run_0123456789ab", best=CheckpointRef(name="run_0123456789ab", path="/m.nemo", sha256="c" * 64), best_step=100,
        candidates=tuple(Candidate(step=step, path="c", dev_wer=wer, train_loss=3.0) for step, wer in ((50, 24.0), (100, 20.5), (150, 21.0))),
        base_dev_wer=40.0, consumed=(Consumed(source="phone<b>", role="train", utterances=900, seconds=3600, seconds_by_locale={"el-GR": 3600.0}),),
        steps=150, trainable_parameters=3_700_000, seconds=60, audio_hours_per_hour=60,
    )  # fmt: skip


def events() -> tuple[Event, ...]:
    nan = Event(time=0, stage="train", step=7, total=150, metrics={"loss": float("nan")})
    return (nan, *(Event(time=n, stage="train", step=n, total=150, metrics={"loss": 100 / (n + 1)}) for n in range(0, 150, 5)))


def parsed(path: Path) -> ET.Element:
    """The page as XML, which is stricter than HTML: every tag closed, every attribute quoted, every & escaped."""
    return ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314


def shown(page: ET.Element) -> str:
    return " ".join(
        " ".join(piece.split()) for element in page.iter() if element.tag != "style" for piece in (element.text or "", element.tail or "")
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything on it: three latencies, two prompt modes, guards of each verdict, training."""
    tmp_path = tmp_path_factory.mktemp("whole")
    targets = [
        pair(tmp_path, texts(0.4 - right / 100), texts(0.2 - right / 100), right=right, set_name="phone_test") for right in (0, 3, 13)
    ]
    targets.append(pair(tmp_path, texts(0.45), texts(0.25), set_name="phone_test", prompt_mode="auto", wrong_tag_rate=0.1))
    guards = [pair(tmp_path, texts(0.1), texts(share), set_name=name) for name, share in (("kept", 0.1), ("lost", 0.4), ("unsure", 0.12))]
    guards.append(pair(tmp_path, texts(0.1), texts(0.1), set_name="kept", prompt_mode="auto", wrong_tag_rate=0.05))
    comparisons = [compare_cells(*p) for p in targets]
    return build_report(
        "Phone",
        targets,
        guards,
        comparisons,
        check_guards(guards, 2.0),
        Training(run=run_result(), events=events()),
        tmp_path / "r" / "report.html",
    )


def test_the_page_is_well_formed_and_holds_only_harmless_elements(whole: Path) -> None:
    page = parsed(whole)
    assert page.tag == "html"
    assert {element.tag for element in page.iter()} <= ALLOWED_TAGS
    assert not [name for element in page.iter() for name in element.attrib if name.startswith("on")]


def test_the_page_asks_for_nothing_from_outside(whole: Path) -> None:
    source = whole.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|url\(|@import|\bsrc=|\bhref=|<script|<link|<iframe", source, re.IGNORECASE)
    policy = [element.get("content") for element in parsed(whole).iter("meta") if element.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_every_plot_has_a_title_a_description_and_a_role(whole: Path) -> None:
    plots = list(parsed(whole).iter("svg"))
    assert len(plots) == 10  # latency, languages, forest and kinds of errors, each for a wide window and a phone; loss, dev error rate
    for plot in plots:
        assert [child.tag for child in plot][:2] == ["title", "desc"]
        assert all((child.text or "").strip() for child in list(plot)[:2])
        assert plot.get("role") == "img"
        assert plot.get("aria-label")


def test_marks_stay_inside_their_plot(whole: Path) -> None:
    for plot in parsed(whole).iter("svg"):
        width, height = map(float, (plot.get("viewBox") or "").split()[2:])
        for element in plot.iter():
            for name, limit in (
                ("x", width),
                ("x1", width),
                ("x2", width),
                ("cx", width),
                ("y", height),
                ("y1", height),
                ("y2", height),
                ("cy", height),
            ):
                if (value := element.get(name)) is not None:
                    assert 0 <= float(value) <= limit, (element.tag, name, value)
            assert float(element.get("width", "0")) >= 0


def test_the_verdicts_and_their_numbers_are_on_the_page(tmp_path: Path, whole: Path) -> None:
    page = shown(parsed(whole))
    assert "fewer errors per 100 words on phone test" in page
    for word in ("better", "kept", "forgotten", "chosen, 20.5", NORMALISER, "rule-of-three", "run_0123456789ab", "b" * 16):
        assert word in page
    base, tuned = pair(tmp_path, texts(0.4), texts(0.2), set_name="phone_test")
    c = compare_cells(base, tuned)
    assert f"{c.base.percent:.1f} → {c.tuned.percent:.1f}" in page
    assert f"{signed(c.delta_points)} points ({span(c.ci95, sign=True)})" in page


def test_light_and_dark_share_one_page_and_every_colour_variable_is_defined_in_both(whole: Path) -> None:
    style = next(parsed(whole).iter("style")).text or ""
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    used, names_light, names_dark = (
        set(re.findall(r"var\((--[\w-]+)\)", style)),
        set(re.findall(r"(--[\w-]+):", light)),
        set(re.findall(r"(--[\w-]+):", dark)),
    )
    assert used <= names_light == names_dark
    assert "prefers-color-scheme: dark" in style


def test_hostile_transcripts_titles_and_names_stay_text(tmp_path: Path) -> None:
    tuned = [HOSTILE, *REFS[1:]]
    evil = pair(tmp_path, REFS, tuned, set_name=HOSTILE, locale='en-"><script>', versions={"<b>": HOSTILE}, engine=HOSTILE)
    guards = [pair(tmp_path, REFS, tuned, set_name=f"{HOSTILE} 2")]
    path = build_report(HOSTILE, [evil], guards, [compare_cells(*evil)], check_guards(guards), None, tmp_path / "report.html")
    page = parsed(path)
    assert {element.tag for element in page.iter()} <= ALLOWED_TAGS
    assert "alert" in shown(page)
    source = path.read_text(encoding="utf-8")
    assert "<script" not in source
    assert not set(source) & set("\u202e\u202c\x07")


def test_aligned_transcripts_show_what_was_missed_and_what_was_made_up(tmp_path: Path) -> None:
    refs = [*REFS, "ο λόγος της οδού είναι κλειστός"]
    tuned = pair(tmp_path, refs, [*REFS, "ο λόγος οδού είναι ανοιχτός τώρα"], refs=refs)
    path = build_report("t", [tuned], [], [compare_cells(*tuned)], None, None, tmp_path / "report.html")
    page = parsed(path)
    case = next(page.iter("article"))
    assert [e.text for e in case.iter("del")] == ["της", "κλειστός"]
    assert [e.text for e in case.iter("ins")] == ["ανοιχτός τώρα"] or [e.text for e in case.iter("ins")] == ["ανοιχτός", "τώρα"]


def test_an_empty_transcript_is_shown_as_missed_words(tmp_path: Path) -> None:
    silent = pair(tmp_path, REFS, ["", *REFS[1:]])
    page = parsed(build_report("t", [silent], [], [compare_cells(*silent)], None, None, tmp_path / "report.html"))
    assert REFS[0] in [e.text for e in page.iter("del")]


def test_synthetic_sources_put_a_flag_on_the_page_and_others_do_not(tmp_path: Path) -> None:
    for source, flagged in (("synthetic-telephone", True), ("field", False), (None, False)):
        found = pair(tmp_path, texts(0.3), texts(0.2), source=source, set_name=f"set-{source}")
        page = shown(parsed(build_report("t", [found], [], [compare_cells(*found)], None, None, tmp_path / f"{source}.html")))
        assert ("no statement about human speakers" in page) is flagged


def test_character_scored_and_right_to_left_locales_have_their_own_form(tmp_path: Path) -> None:
    found = pair(
        tmp_path, ["今日はいい天気"] * 30, ["今日は天気"] * 30, refs=[f"今日はいい天気{chr(0x4E00 + n)}" for n in range(30)], locale="ja-JP"
    )
    page = parsed(build_report("t", [found], [], [compare_cells(*found)], None, None, tmp_path / "ja.html"))
    assert "CER on target" in shown(page)
    found = pair(tmp_path, ["שלום"] * 30, [""] * 30, refs=[f"שלום {n}" for n in range(30)], locale="he-IL", set_name="he")
    page = parsed(build_report("t", [found], [], [compare_cells(*found)], None, None, tmp_path / "he.html"))
    assert {e.get("dir") for e in page.iter("dd") if e.get("lang")} == {"rtl"}


def test_a_perfect_model_and_a_run_without_loss_events_still_make_a_page(tmp_path: Path) -> None:
    found = pair(tmp_path, REFS, REFS)
    page = shown(
        parsed(build_report("t", [found], [], [compare_cells(*found)], None, Training(run=run_result()), tmp_path / "report.html"))
    )
    assert "0 of 120 utterances have more errors than before, 0 have fewer." in page
    assert "0 of 120 utterances have an error left." in page
    assert "Other languages were not checked." in page
    assert "Training loss" not in page


def test_nothing_is_written_when_the_page_cannot_be_made(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    found = pair(tmp_path, REFS, REFS)
    with pytest.raises(UsageError, match="no_targets"):
        build_report("t", [], [], [], None, None, out)
    with pytest.raises(ToolFault, match="comparison_missing"):
        build_report("t", [found], [], [], None, None, out)
    comparison = compare_cells(*found)
    Path(found[1].hypotheses).unlink()
    with pytest.raises(NotReadyError, match="hypotheses_missing"):
        build_report("t", [found], [], [comparison], None, None, out)
    assert not out.exists()


def test_markup_escapes_everything_it_did_not_make() -> None:
    assert (
        el("p", "<b>", el("i", "&"), title='"x"', class_="a", aria_label="l", hidden=None)
        == '<p title="&quot;x&quot;" class="a" aria-label="l">&lt;b&gt;<i>&amp;</i></p>'
    )
    assert join("<", text("<")) == "&lt;&lt;"
    assert el("rect", x=1.0, y=2.345, width=0.004) == '<rect x="1" y="2.35" width="0"></rect>'


@pytest.mark.parametrize(("low", "high"), [(0, 50), (0, 1), (3.1, 3.2), (-2.5, 13), (0, 0.004), (-40, -3), (0, 260), (12, 12)])
def test_ticks_are_few_round_and_cover_the_data(low: float, high: float) -> None:
    marks = ticks(low, high)
    assert marks[0] <= low + 1e-9
    assert marks[-1] >= high - 1e-9
    assert 2 <= len(marks) <= 9
    assert marks[-1] - max(high, low + 1 if high == low else high) < marks[1] - marks[0]


def test_numbers_read_well() -> None:
    assert (signed(-0.04), signed(-1.25), signed(3.0)) == ("0.0", "−1.2", "+3.0")
    assert (count(12345), p_value(0.0002), p_value(0.0412), span(None)) == ("12\u202f345", "< 0.001", "0.041", "–")
