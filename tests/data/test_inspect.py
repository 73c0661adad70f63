"""inspect_dataset: every fault that is planted is found with its line, and good data is READY."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from asrcore.audio import decode
from asrcore.checkpoint import read_checkpoint, resolve_base
from asrcore.data.inspect import InspectReport, inspect
from asrcore.data.signal import measure
from asrcore.errors import AsrtuneError
from asrcore.results import Result
from asrcore.workspace import Workspace
from asrtune import registry
from tests.data.speech import GREEK, RATE, corpus, manifest, nemo, noise, row, wav


def look(ws: Workspace, path: Path | str, **arguments: Any) -> Result[InspectReport]:
    return registry.call("inspect_dataset", {"manifest": str(path), **arguments}, ws)


def found(report: InspectReport) -> dict[str, tuple[int, tuple[int, ...]]]:
    return {f.code: (f.count, f.lines) for f in report.findings if f.severity != "info"}


def test_clean_data_is_ready_and_leads_to_shards(ws: Workspace) -> None:
    result = look(ws, corpus(ws.base_folder), base="embedded")
    assert result.data.verdict == "READY"
    assert found(result.data) == {}
    assert (result.data.rows, result.data.rows_inspected, result.data.speakers) == (5, 5, 2)
    assert result.data.hours == pytest.approx(11 / 3600, abs=1e-4)
    assert result.next_actions[0].tool == "build_shards"
    assert not result.truncated


def test_faults_of_the_audio_are_found_with_their_lines(ws: Workspace) -> None:
    here = ws.base_folder
    phone = soxr.resample(noise(2.0, 8000, seed=9), 8000, RATE)
    square = np.sign(np.sin(2 * np.pi * 5 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    files = {
        "good.wav": wav(here / "good.wav"), "upsampled.wav": wav(here / "upsampled.wav", phone),
        "clipped.wav": wav(here / "clipped.wav", 0.99 * square + 0.001 * noise()), "silent.wav": wav(here / "silent.wav", noise(level=1e-4)),
        "stereo.wav": wav(here / "stereo.wav", np.stack([noise(seed=3)] * 2, axis=1)),
        "text.wav": here / "text.wav", "zero.wav": here / "zero.wav",
    }  # fmt: skip
    files["text.wav"].write_text("no audio")
    files["zero.wav"].write_bytes(b"")
    wav(here / "long.wav", noise(3.0, seed=5))
    wav(here / "short.wav", noise(0.5, seed=6))
    rows = [row(name) for name in files] + [
        row("none.wav"),
        row("long.wav"),
        row("short.wav"),
        row("/etc/hostname"),
        row("good.wav", sampling_rate=8000),
    ]
    report = look(ws, manifest(here / "m.json", rows)).data
    assert found(report) == {
        "audio_upsampled": (1, (2,)), "audio_clipped": (1, (3,)), "audio_silent": (1, (4,)), "audio_channels": (1, (5,)),
        "audio_unreadable": (1, (6,)), "audio_empty": (1, (7,)), "audio_missing": (1, (8,)), "duration_cuts_audio": (1, (9,)),
        "duration_too_long": (1, (10,)), "audio_refused": (1, (11,)), "sampling_rate_mismatch": (1, (12,)), "duplicate": (1, (12,)),
    }  # fmt: skip
    assert report.verdict == "UNUSABLE"
    assert report.narrow_band_hours == pytest.approx(2 / 3600, abs=1e-4)


def test_faults_of_the_text_are_found_with_their_lines(ws: Workspace) -> None:
    here = ws.base_folder
    texts = [
        GREEK,
        "",
        "<el-GR>" + GREEK,
        "[γέλια] " + GREEK,
        "Κοστίζει 5 λεπτά.",
        "χωρίς τίποτα",
        "Ένα € και ένα ☃ παρακαλώ.",
        GREEK * 8,
        *[GREEK] * 4,
    ]
    rows = [row(f"{n}.wav", text=text) for n, text in enumerate(texts)]
    for n in range(len(texts)):
        wav(here / f"{n}.wav", noise(seed=n))
    report = look(ws, manifest(here / "m.json", rows)).data
    lines = {code: at for code, (_, at) in found(report).items()}
    assert 7 in lines.pop("text_unknown_characters")  # other lines depend on what the base's tokenizer has seen
    assert lines == {"text_empty": (2,), "text_tag": (3,), "text_markup": (4,), "text_digits": (5,), "text_uncased": (6,), "text_unpunctuated": (6,),
                     "text_too_dense": (8,), "text_repeats": (8,)}  # fmt: skip
    assert {"U+20AC EURO SIGN", "U+2603 SNOWMAN"} <= {c.character for c in report.unknown_characters}
    assert report.verdict == "NEEDS FIX"


def test_a_set_in_another_style_is_an_error_and_a_single_row_of_it_a_warning(ws: Workspace) -> None:
    """Tuning on lower-case text without punctuation removes case and punctuation from the output."""
    plain = GREEK.lower().translate(str.maketrans("", "", ",."))
    for n in range(4):
        wav(ws.base_folder / f"{n}.wav", noise(seed=n))
    graded = {}
    for name, lowered in (("few", 1), ("most", 3)):
        path = manifest(ws.base_folder / f"{name}.json", [row(f"{n}.wav", text=plain if n < lowered else GREEK) for n in range(4)])
        report = look(ws, path).data
        graded[name] = (report.verdict, report.style.cased, {f.code: f.severity for f in report.findings if f.code.startswith("text_un")})
    assert graded["few"] == ("READY", 0.75, {"text_uncased": "warning", "text_unpunctuated": "warning"})
    assert graded["most"] == ("NEEDS FIX", 0.25, {"text_uncased": "error", "text_unpunctuated": "error"})


def test_the_same_audio_with_another_text_is_an_error_in_any_lossless_format(ws: Workspace) -> None:
    wav(ws.base_folder / "a.wav", noise(), subtype="PCM_16")
    wav(ws.base_folder / "b.flac", decode(ws.base_folder / "a.wav"), subtype="PCM_16")
    report = look(ws, manifest(ws.base_folder / "m.json", [row(), row("b.flac"), row("b.flac", text="Όχι.")])).data
    assert found(report) == {"duplicate": (1, (2,)), "text_conflict": (1, (3,))}


def test_text_that_does_not_fit_its_audio_stands_out_from_its_locale(ws: Workspace) -> None:
    rows: list[dict[str, Any]] = []
    for n in range(24):
        wav(ws.base_folder / f"{n}.wav", noise(4.0, seed=n))
        rows.append(row(f"{n}.wav", duration=4.0, text="Όχι." if n == 17 else f"{GREEK} {'Και ' * (n % 3)}τώρα."))
    assert found(look(ws, manifest(ws.base_folder / "m.json", rows)).data) == {"speech_rate_outlier": (1, (18,))}


def test_what_duration_filters_of_the_loader_would_drop_is_told_in_rows_and_hours(ws: Workspace) -> None:
    wav(ws.base_folder / "a.wav", noise(41.0, 8000), 8000)
    durations = [0.05, 1.0, 25.0, 41.0]
    path = manifest(ws.base_folder / "m.json", [row(duration=d, offset=0.001 * n) for n, d in enumerate(durations)])
    filters = {f.limit: (f.rows, f.hours) for f in look(ws, path).data.filters}
    assert filters == {"max_duration 20": (2, round(66 / 3600, 4)), "max_duration 30": (1, round(41 / 3600, 4)),
                       "max_duration 39.99": (1, round(41 / 3600, 4)), "min_duration 0.1": (1, 0.0)}  # fmt: skip


def test_counts_are_complete_where_lines_are_cut_and_the_answer_says_so(ws: Workspace) -> None:
    result = look(ws, manifest(ws.base_folder / "m.json", [row(f"none{n}.wav") for n in range(40)]))
    assert found(result.data)["audio_missing"] == (40, (1, 2, 3, 4, 5))
    assert result.truncated
    assert len(result.model_dump_json()) < 5_000


def test_a_sample_is_evenly_spaced_deterministic_and_reads_the_whole_manifest(ws: Workspace) -> None:
    path = corpus(ws.base_folder, count=10)
    with open(path, "a", encoding="utf-8") as file:
        file.write("broken\n")
    first, second = look(ws, path, sample=4), look(ws, path, sample=4)
    assert first == second
    assert (first.data.rows, first.data.rows_inspected) == (10, 4)
    assert found(first.data) == {"manifest_not_json": (1, (11,))}


def test_rows_marked_skipme_are_not_inspected(ws: Workspace) -> None:
    wav(ws.base_folder / "a.wav")
    report = look(ws, manifest(ws.base_folder / "m.json", [row(), row("none.wav", _skipme=True)])).data
    assert (report.verdict, report.rows, report.rows_skipped) == ("READY", 2, 1)


def test_unknown_tags_are_counted_and_lead_to_the_tag_check(ws: Workspace) -> None:
    wav(ws.base_folder / "a.wav")
    result = look(ws, manifest(ws.base_folder / "m.json", [row(), row(target_lang="xx-YY", offset=0.1, duration=1.5)]))
    assert result.data.hours_by_locale.keys() == {"el-GR", "unknown"}
    assert result.next_actions[0].tool == "validate_language_tags"


def test_names_from_the_data_appear_only_in_untrusted_text_and_cleaned(ws: Workspace) -> None:
    wav(ws.base_folder / "a.wav")
    report = look(ws, manifest(ws.base_folder / "m.json", [row(speaker="evil\u202e\n" + "x" * 99, source="corpus")])).data
    (speaker,) = report.untrusted_text.hours_by_speaker
    assert speaker.startswith("evil x")
    assert len(speaker) == 40
    assert "evil" not in report.model_copy(update={"untrusted_text": None}).model_dump_json()


def test_a_manifest_without_a_readable_row_is_unusable_not_a_crash(ws: Workspace) -> None:
    for content in ([], [b"\x00\xff\xfe"], ["PK\x03\x04"]):
        assert look(ws, manifest(ws.base_folder / "m.json", content)).data.verdict == "UNUSABLE"


def test_a_base_without_tokenizer_or_of_another_class_is_refused(ws: Workspace) -> None:
    path = corpus(ws.base_folder, count=1)
    nemo(ws.base_folder / "bare.nemo")
    nemo(ws.base_folder / "ctc.nemo", target="x.EncDecCTCModelBPE")
    codes: list[str] = []
    for base in ("bare.nemo", "ctc.nemo", "none.nemo"):
        with pytest.raises(AsrtuneError) as caught:
            look(ws, path, base=base)
        codes.append(caught.value.code)
    assert codes == ["checkpoint_not_nemo", "checkpoint_not_prompt_class", "path_missing"]


@pytest.mark.parametrize(
    ("name", "form", "rate"), [("a.ogg", {"format": "OGG", "subtype": "OPUS"}, RATE), ("a.wav", {"subtype": "GSM610"}, 8000)]
)
def test_the_codecs_of_the_embedded_sets_pass(ws: Workspace, name: str, form: dict[str, str], rate: int) -> None:
    wav(ws.base_folder / name, noise(2.0, rate, level=0.02), rate, **form)
    report = look(ws, manifest(ws.base_folder / "m.json", [row(name, sampling_rate=rate)])).data
    assert (report.verdict, found(report)) == ("READY", {})
    assert report.narrow_band_hours == (report.hours if rate == 8000 else 0.0)


def test_inspecting_writes_nothing(ws: Workspace, tmp_path: Path) -> None:
    path = corpus(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    inspect(path, read_checkpoint(Path(registry.__file__).parents[2] / "asrcore/embedded/base.nemo"), "embedded")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_report_is_the_same_however_many_listen(ws: Workspace) -> None:
    """Findings of the audio come in the manifest's order: the first of two equal recordings is the one that stays."""
    here = ws.base_folder
    for n in range(6):
        wav(here / f"{n}.wav", noise(0.5 if n % 2 else 8.0, seed=n), subtype="PCM_16")
    (here / "broken.wav").write_bytes(b"RIFF")
    names = [f"{n % 6}.wav" for n in range(60)] + ["broken.wav", "none.wav"]
    path = manifest(here / "m.json", [row(name, duration=0.5 + n / 100) for n, name in enumerate(names)])
    base = resolve_base(ws, "embedded")
    reports = [inspect(path, base, "embedded", workers=workers) for workers in (1, 4)]
    assert reports[0] == reports[1]
    assert found(reports[0])["duplicate"][0] > 0


def test_a_recording_of_hours_is_heard_in_blocks(ws: Workspace) -> None:
    """150 s is three blocks: what was measured is that of the whole recording."""
    samples = noise(150.0, top=3000)
    whole = measure([samples], RATE)
    cut = measure(np.array_split(samples, [1, 700, 2**20 + 3]), RATE)
    assert cut.digest == whole.digest
    assert cut.seconds == 150.0
    assert cut[1:4] == pytest.approx(whole[1:4], rel=1e-6)
