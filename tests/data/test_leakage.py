"""What two sets share, told apart by kind, with complete counts on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from asrcore.data.leakage import KINDS, Decoding, LeakReport, compare_sets
from asrcore.data.sentences import GRAM_WORDS, grams, sentence, telling
from asrcore.errors import AsrtuneError
from asrcore.text import bare as sentence_of_plans
from tests.data.speech import RATE, manifest, noise, row

LONG = "ένα δύο τρία τέσσερα πέντε έξι επτά οκτώ εννέα δέκα"


def sets(folder: Path, first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> tuple[Path, Path]:
    return manifest(folder / "first.jsonl", first), manifest(folder / "second.jsonl", second)


def kinds(report: LeakReport) -> dict[str, tuple[int, int]]:
    return {o.kind: (o.rows_first, o.rows_second) for o in report.overlaps}


@pytest.mark.parametrize(("first", "second", "expected"), [
    (row("a.wav", text=LONG), row("b.wav", text="Κάτι άλλο, πολύ διαφορετικό."), set()),
    (row("a.wav", audio_digest="d1"), row("b.wav", text="Άλλο κείμενο, μεγάλο.", audio_digest="d1"), {"audio"}),
    (row("a.wav", text="Θέλω ένα εισιτήριο παρακαλώ"), row("b.wav", text="ΘΈΛΩ ένα  εισιτήριο, παρακαλώ!"), {"text"}),
    (row("a.wav", text="Ναι, βέβαια."), row("b.wav", text="ναι βέβαια"), set()),
    (row("a.wav", text="Λέω " + LONG), row("b.wav", text=LONG + " και τέλος"), {"ngram"}),
    (row("a.wav", text="Πρώτο κείμενο εδώ πέρα.", speaker="s1"), row("b.wav", text="Δεύτερο.", speaker="s1"), {"speaker"}),
    (row("a.wav", text="Α.", speaker="1", source="x"), row("b.wav", text="Β.", speaker="1", source="y"), set()),
    (row("a.wav", text="Α.", recording="book7"), row("b.wav", text="Β.", recording="book7"), {"recording"}),
    (row("a.wav", text="Α.", duration=1.0), row("a.wav", text="Β.", offset=1.0, duration=1.0), {"recording"}),
    (row("a.wav", text="Α.", duration=1.1), row("a.wav", text="Β.", offset=1.0, duration=1.0), {"audio", "recording"}),
    (row("a.wav", text="今日は天気がいいです", target_lang="ja-JP"), row("b.wav", text="今日は天気がいいです。", target_lang="ja-JP"), {"text"}),
])  # fmt: skip
def test_each_kind_of_overlap_is_named_for_what_it_is(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], expected: set[str]
) -> None:
    assert set(kinds(compare_sets(*sets(tmp_path, [first], [second])))) == expected


def test_counts_are_complete_on_both_sides_and_in_the_order_asked(tmp_path: Path) -> None:
    many = [row(f"m{n}.wav", text=f"Πρόταση με αριθμό {n % 4} εδώ", speaker="s") for n in range(20)]
    few = [row("f.wav", text="Πρόταση με αριθμό 3 εδώ"), row("g.wav", text="Κανείς δεν το έχει πει ποτέ")]
    first, second = sets(tmp_path, many, few)
    report, turned = compare_sets(first, second), compare_sets(second, first)
    assert kinds(report) == {"text": (5, 1)}
    assert kinds(turned) == {"text": (1, 5)}
    (overlap,) = report.overlaps
    assert (overlap.lines_first, overlap.lines_second) == ((4, 8, 12, 16, 20), (1,))
    assert (report.rows_first, report.rows_second, turned.rows_first) == (20, 2, 2)


def test_the_same_recording_in_another_file_is_found_once_audio_is_decoded(tmp_path: Path) -> None:
    pcm = (noise() * 32767).astype("int16")
    sf.write(tmp_path / "a.wav", pcm, RATE)
    sf.write(tmp_path / "b.flac", pcm, RATE)
    first, second = sets(tmp_path, [row("a.wav", text="Α.")], [row("b.flac", text="Β."), row("none.wav", text="Γ.")])
    assert kinds(compare_sets(first, second)) == {}
    report = compare_sets(first, second, Decoding((tmp_path.resolve(),)))
    assert kinds(report) == {"audio": (1, 1)}
    assert (report.digests_first, report.digests_second) == (1, 1)
    assert compare_sets(first, second, Decoding((tmp_path / "elsewhere",))).digests_first == 0


def test_rows_marked_skipme_leak_nothing(tmp_path: Path) -> None:
    assert kinds(compare_sets(*sets(tmp_path, [row(), row("b.wav", text=LONG)], [row("x.wav", text=LONG, _skipme="why:not")]))) == {}


def test_a_broken_manifest_is_not_half_compared(tmp_path: Path) -> None:
    first, second = sets(tmp_path, [row()], [row("b.wav")])
    second.write_bytes(second.read_bytes() + b"{\n")
    with pytest.raises(AsrtuneError) as caught:
        compare_sets(first, second)
    assert caught.value.code == "manifest_invalid"


def test_only_what_makes_a_result_recitation_blocks(tmp_path: Path) -> None:
    report = compare_sets(*sets(tmp_path, [row("a.wav", text=LONG, speaker="s")], [row("b.wav", text=LONG, speaker="s")]))
    assert set(kinds(report)) == {"text", "ngram", "speaker"}
    assert [o.kind for o in report.blocking()] == ["text"]
    assert report.blocking(["text"]) == ()


TEXTS = st.sampled_from(["Ένα δύο τρία τέσσερα", "ένα, δύο τρία ΤΈΣΣΕΡΑ!", "Πέντε έξι επτά οκτώ", "Ναι.", LONG, LONG + " τέλος"])
ROWS = st.lists(
    st.builds(lambda audio, text, speaker, digest: row(audio, text=text, speaker=speaker, audio_digest=digest),
              st.sampled_from(["a.wav", "b.wav", "c.wav", "d.wav"]), TEXTS, st.sampled_from([None, "s1", "s2"]), st.sampled_from([None, "d1", "d2"])),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(max_examples=50)
@given(ROWS, ROWS)
def test_the_streamed_comparison_equals_the_one_of_every_pair(
    tmp_path_factory: pytest.TempPathFactory, first: list[Any], second: list[Any]
) -> None:
    found = kinds(compare_sets(*sets(tmp_path_factory.mktemp("sets"), first, second)))

    def shares(kind: str, a: dict[str, Any], b: dict[str, Any]) -> bool:
        text_a, text_b = sentence(a["text"]), sentence(b["text"])
        return {
            "audio": a["audio_filepath"] == b["audio_filepath"] or (a.get("audio_digest") is not None and a.get("audio_digest") == b.get("audio_digest")),
            "text": text_a == text_b and telling(text_a, "el-GR"), "recording": a["audio_filepath"] == b["audio_filepath"],
            "ngram": bool(set(grams(text_a, "el-GR")) & set(grams(text_b, "el-GR"))),
            "speaker": a.get("speaker") is not None and a.get("speaker") == b.get("speaker"),
        }[kind]  # fmt: skip

    expected = {kind: (sum(any(shares(kind, a, b) for b in second) for a in first), sum(any(shares(kind, a, b) for a in first) for b in second))
                for kind in KINDS}  # fmt: skip
    assert found == {kind: counts for kind, counts in expected.items() if counts != (0, 0)}


@given(st.text(max_size=60))
def test_a_sentence_is_the_one_that_plans_compare(text: str) -> None:
    if "<" not in text:
        assert sentence(text) == sentence_of_plans(text)


@given(st.lists(st.sampled_from("alpha beta gamma delta".split()), max_size=20))
def test_there_is_one_gram_for_every_run_of_eight_words(words: list[str]) -> None:
    assert len(grams(" ".join(words), "en-US")) == max(0, len(words) - GRAM_WORDS + 1)
