"""Two evals side by side: what is refused, and what may be claimed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from asrcore.errors import NotReadyError
from asrcore.score import compare_cells
from tests.score.evals import BASE, TUNED, cell, hypotheses

WORDS = "the line is busy please call back tomorrow at nine".split()


def sentences(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(4, 9))) for _ in range(count)]


def broken(texts: list[str], share: float, seed: int) -> list[str]:
    """Each word replaced with probability `share`."""
    rng = random.Random(seed)
    return [" ".join("x" if rng.random() < share else word for word in text.split()) for text in texts]


def test_a_clear_gain_is_better_and_its_mirror_image_is_worse(tmp_path: Path) -> None:
    refs = sentences(200)
    base = cell(tmp_path, BASE, hypotheses(refs, broken(refs, 0.3, 1)))
    tuned = cell(tmp_path, TUNED, hypotheses(refs, broken(refs, 0.1, 2)))
    better, worse = compare_cells(base, tuned), compare_cells(tuned, base)
    assert (better.verdict, worse.verdict) == ("better", "worse")
    assert better.ci95[1] < 0 < worse.ci95[0]
    assert better.delta_points == pytest.approx(-worse.delta_points) == pytest.approx(better.tuned.percent - better.base.percent)
    assert better.relative_percent == pytest.approx(100 * better.delta_points / better.base.percent)
    assert better.p_value < 0.05
    assert (better.improved_share, better.words_needed, better.more_words) == (1.0, None, None)
    assert (better.cluster_kind, better.clusters, better.warnings) == ("speaker", 25, ())


def test_a_difference_that_the_set_cannot_resolve_is_inconclusive_and_says_how_many_words_would(tmp_path: Path) -> None:
    refs = sentences(60)
    base = cell(tmp_path, BASE, hypotheses(refs, broken(refs, 0.20, 1)))
    tuned = cell(tmp_path, TUNED, hypotheses(refs, broken(refs, 0.19, 5)))
    result = compare_cells(base, tuned)
    assert result.verdict == "inconclusive"
    assert result.ci95[0] < 0 < result.ci95[1]
    assert result.p_value > 0.05
    assert result.words_needed is not None
    assert result.more_words is not None
    assert result.words_needed > result.words
    assert result.more_words == pytest.approx(result.words_needed - result.words, rel=0.1)


def test_the_same_transcripts_are_inconclusive_and_no_size_is_promised(tmp_path: Path) -> None:
    refs = sentences(60)
    texts = broken(refs, 0.2, 1)
    result = compare_cells(cell(tmp_path, BASE, hypotheses(refs, texts)), cell(tmp_path, TUNED, hypotheses(refs, texts)))
    assert (result.verdict, result.delta_points, result.words_needed, result.improved_share, result.p_value) == (
        "inconclusive",
        0.0,
        None,
        0.5,
        1.0,
    )


def test_fewer_than_ten_clusters_give_no_verdict_however_large_the_gain(tmp_path: Path) -> None:
    refs = [f"number {n % 9}" for n in range(90)]
    result = compare_cells(
        cell(tmp_path, BASE, hypotheses(refs, [""] * 90, speakers=3)), cell(tmp_path, TUNED, hypotheses(refs, refs, speakers=3))
    )
    assert (result.verdict, result.delta_points) == ("inconclusive", -100.0)
    assert [w.code for w in result.warnings] == ["few_speakers", "few_clusters"]


def test_evals_under_different_conditions_are_refused_with_all_differences_at_once(tmp_path: Path) -> None:
    refs = sentences(30)
    base = cell(tmp_path, BASE, hypotheses(refs, refs))
    with pytest.raises(NotReadyError) as caught:
        compare_cells(base, cell(tmp_path, TUNED, hypotheses(refs, refs), set_name="other", right=3, prompt_mode="auto"))
    assert caught.value.code == "sets_differ"
    assert [p.code for p in caught.value.problems] == ["sets_differ", "latency_differs", "prompt_mode_differs"]
    with pytest.raises(NotReadyError, match="latency_differs"):
        compare_cells(base, cell(tmp_path, TUNED, hypotheses(refs, refs), right=3))
    with pytest.raises(NotReadyError, match="prompt_mode_differs"):
        compare_cells(base, cell(tmp_path, TUNED, hypotheses(refs, refs), prompt_mode="auto"))


@pytest.mark.parametrize("change", ["missing", "reference", "locale", "extra"])
def test_unequal_utterances_behind_the_same_manifest_digest_are_refused(tmp_path: Path, change: str) -> None:
    refs = sentences(30)
    base = cell(tmp_path, BASE, hypotheses(refs, refs))
    rows = hypotheses([*refs, "one more"], [*refs, "one more"])
    other = {
        "missing": rows[:-2],
        "reference": [rows[0].model_copy(update={"reference": "changed"}), *rows[1:-1]],
        "locale": [rows[0].model_copy(update={"locale": "el-GR"}), *rows[1:-1]],
        "extra": rows,
    }[change]
    with pytest.raises(NotReadyError, match="sets_differ"):
        compare_cells(base, cell(tmp_path, TUNED, other))


def test_the_order_of_the_lines_does_not_matter(tmp_path: Path) -> None:
    refs = sentences(40)
    base = cell(tmp_path, BASE, hypotheses(refs, broken(refs, 0.3, 1)))
    rows = hypotheses(refs, broken(refs, 0.2, 2))
    straight, reversed_ = (compare_cells(base, cell(tmp_path / str(n), TUNED, order)) for n, order in enumerate((rows, rows[::-1])))
    assert straight == reversed_


def test_the_same_call_gives_the_same_result_and_id_and_another_seed_another_id(tmp_path: Path) -> None:
    refs = sentences(40)
    base, tuned = cell(tmp_path, BASE, hypotheses(refs, broken(refs, 0.3, 1))), cell(tmp_path, TUNED, hypotheses(refs, refs))
    assert compare_cells(base, tuned) == compare_cells(base, tuned)
    assert compare_cells(base, tuned, seed=1).comparison_id != compare_cells(base, tuned).comparison_id


def test_another_batch_size_or_engine_is_a_warning(tmp_path: Path) -> None:
    refs = sentences(30)
    result = compare_cells(
        cell(tmp_path, BASE, hypotheses(refs, refs)), cell(tmp_path, TUNED, hypotheses(refs, refs), batch_size=1, engine="exact/2")
    )
    assert [w.code for w in result.warnings] == ["engine_differs", "batch_size_differs"]


def test_a_mixed_set_is_also_shown_by_locale_without_verdicts(tmp_path: Path) -> None:
    refs = sentences(60)
    locales = ["en-US", "en-GB"]

    def mixed(texts: list[str]) -> list:
        return [h.model_copy(update={"locale": locales[n % 2]}) for n, h in enumerate(hypotheses(refs, texts))]

    result = compare_cells(cell(tmp_path, BASE, mixed(broken(refs, 0.3, 1))), cell(tmp_path, TUNED, mixed(refs)))
    assert [s.locale for s in result.by_locale] == ["en-GB", "en-US"]
    assert sum(s.words for s in result.by_locale) == result.words
    assert all(s.tuned_percent == 0 for s in result.by_locale)


def test_missing_broken_and_doubled_hypotheses_are_named(tmp_path: Path) -> None:
    refs = sentences(30)
    base, tuned = cell(tmp_path, BASE, hypotheses(refs, refs)), cell(tmp_path, TUNED, hypotheses(refs, refs))
    file = Path(tuned.hypotheses)
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([lines[0], lines[0], "{", *lines[3:]]), encoding="utf-8")
    with pytest.raises(NotReadyError) as caught:
        compare_cells(base, tuned)
    assert (caught.value.code, [p.line for p in caught.value.problems]) == ("hypotheses_invalid", [2, 3])
    file.unlink()
    with pytest.raises(NotReadyError, match="hypotheses_missing"):
        compare_cells(base, tuned)


def test_line_separators_inside_a_transcript_do_not_break_the_file(tmp_path: Path) -> None:
    refs = sentences(30)
    texts = [refs[0] + "\u2028\u0085 more", *refs[1:]]
    result = compare_cells(cell(tmp_path, BASE, hypotheses(refs, refs)), cell(tmp_path, TUNED, hypotheses(refs, texts)))
    assert result.tuned.insertions == 1


def test_one_sentence_by_nobody_in_particular_cannot_be_compared(tmp_path: Path) -> None:
    rows = hypotheses(["same"] * 5, ["same"] * 5, speakers=0)
    with pytest.raises(NotReadyError, match="too_few_clusters"):
        compare_cells(cell(tmp_path, BASE, rows), cell(tmp_path, TUNED, rows))
