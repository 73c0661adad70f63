"""inspect_dataset: what it says of the whole set (lengths, noise, groups of speakers), of the ends of recordings, and what to call next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrcore.audio import Samples
from asrcore.data import inspect_job
from asrcore.data.inspect import InspectReport
from asrcore.data.signal import measure
from asrcore.data_requests import InspectRequest
from asrcore.errors import AsrtuneError, Stopped
from asrcore.jobs import ENDED, get_job
from asrcore.workspace import Workspace
from asrtune import registry
from asrtune.verbs import inspect_dataset
from tests.data.speech import GREEK, RATE, corpus, manifest, noise, row, wav
from tests.data.test_inspect import found, look
from tests.data.test_shards import Reporter


def speech(snr_db: float = 40.0, lead: float = 0.1, tail: float = 0.1, rate: int = RATE, seconds: float = 3.0) -> Samples:
    """Bursts of noise with pauses, between silences, over a steady noise so much quieter than the bursts."""
    voice = noise(seconds, rate, seed=1, level=0.1)
    voice[np.arange(len(voice)) % (rate // 2) > rate // 3] = 0
    made = np.concatenate([np.zeros(round(lead * rate), np.float32), voice, np.zeros(round(tail * rate), np.float32)])
    return (made + noise(len(made) / rate, rate, seed=2, level=0.1 * 10 ** (-snr_db / 20))[: len(made)]).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0, 40.0])
def test_the_noise_under_the_speech_is_estimated_within_two_decibels_at_any_rate(snr_db: float, rate: int) -> None:
    estimate = measure([speech(snr_db, rate=rate)], rate).snr_db
    assert estimate == pytest.approx(snr_db, abs=2)


@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_silence_before_and_after_the_speech_is_measured_to_a_few_frames(rate: int) -> None:
    signal = measure([speech(60.0, lead=1.5, tail=0.7, rate=rate)], rate)
    # The last burst ends a sixth of a second before the voice does.
    assert (signal.lead_s, signal.tail_s) == (pytest.approx(1.5, abs=0.05), pytest.approx(0.7 + 1 / 6, abs=0.05))


@given(st.integers(1, 30_000), st.integers(1, 9), st.sampled_from([8_000, 16_000]))
def test_blocks_of_any_length_give_the_same_signal(count: int, pieces: int, rate: int) -> None:
    samples = np.random.default_rng(count).standard_normal(count).astype(np.float32).clip(-1, 1) * np.float32(0.3) + np.float32(0.05)
    whole, cut = measure([samples], rate), measure([part for part in np.array_split(samples, pieces) if len(part)], rate)
    assert (cut.seconds, cut.digest, cut.clipped_share, cut.lead_s, cut.tail_s) == (whole.seconds, whole.digest, whole.clipped_share, whole.lead_s, whole.tail_s)
    assert (cut.level_dbfs, cut.dc) == (pytest.approx(whole.level_dbfs, abs=1e-3), pytest.approx(whole.dc, abs=1e-6))
    assert cut.snr_db == (None if whole.snr_db is None else pytest.approx(whole.snr_db, abs=1e-3))


def test_digital_silence_and_single_clicks_have_no_noise_ratio_and_no_crash() -> None:
    zero = measure([np.zeros(2 * RATE, np.float32)], RATE)
    assert (zero.snr_db, zero.lead_s) == (None, pytest.approx(2.0))
    click = np.zeros(2 * RATE, np.float32)
    click[RATE] = 0.5
    assert measure([click], RATE).snr_db is None


def test_offset_and_edges_are_warnings_and_noise_is_told_but_not_held_against_the_set(ws: Workspace) -> None:
    here = ws.base_folder
    wav(here / "good.wav", speech())
    wav(here / "offset.wav", speech() + np.float32(0.05))
    wav(here / "late.wav", speech(lead=2.0))
    wav(here / "noisy.wav", speech(snr_db=3.0))
    seconds = {"good": 3.2, "offset": 3.2, "late": 5.1, "noisy": 3.2}
    rows = [row(f"{name}.wav", duration=length, text=f"{GREEK} {'και ' * n}τώρα.") for n, (name, length) in enumerate(seconds.items())]
    report = look(ws, manifest(here / "m.json", rows)).data
    assert found(report) == {"audio_offset": (1, (2,)), "audio_edge_silence": (1, (3,))}
    assert [f.lines for f in report.findings if f.code == "audio_noisy"] == [(4,)]
    assert report.snr_db is not None
    assert report.snr_db.p10 < 20 < report.snr_db.median < report.snr_db.p90
    assert report.edge_silence_hours == pytest.approx((2.0 + 4 * (0.1 + 1 / 6)) / 3600, rel=0.2)
    assert report.verdict == "READY"


def test_hours_are_told_by_length_and_their_sum_is_the_whole(ws: Workspace) -> None:
    wav(ws.base_folder / "a.wav", noise(41.0, 8000), 8000)
    report = look(ws, manifest(ws.base_folder / "m.json", [row(duration=d, offset=0.001 * n) for n, d in enumerate([0.5, 1.0, 4.0, 39.0, 40.0])])).data
    assert {name: hours for name, hours in report.hours_by_duration.items() if hours} == {
        "0-1": round(0.5 / 3600, 4), "1-2": round(1 / 3600, 4), "2-5": round(4 / 3600, 4), "30-40": round(39 / 3600, 4), "40-": round(40 / 3600, 4)}  # fmt: skip
    assert sum(report.hours_by_duration.values()) == pytest.approx(report.hours, abs=3e-4)


def test_groups_of_speakers_show_their_balance_and_the_worst_of_them(ws: Workspace) -> None:
    here, rows = ws.base_folder, list[dict[str, Any]]()
    for n in range(44):
        wav(here / f"{n}.wav", noise(2.0, seed=n))
        # 24 rows of "north", of which 6 have no audio; 20 of "south", of which 1; a lone one with an error is no group to judge by.
        missing = n < 6 or n == 30
        accent = "north\u202e" if n < 24 else "south"
        rows.append(row("none.wav" if missing else f"{n}.wav", accents=accent, **({"gender": "f"} if n % 2 else {})))
    rows.append(row("none.wav", accents="lone"))
    report = look(ws, manifest(here / "m.json", rows)).data
    by_field = {balance.field: balance for balance in report.groups}
    assert set(by_field) == {"gender", "accents"}
    accents = by_field["accents"]
    assert (accents.groups, accents.worst_error_share, accents.untrusted_text.worst) == (3, 0.25, "north")
    assert accents.error_share == round(8 / 45, 4)
    assert (accents.largest_share, accents.smallest_share) == (round(24 / 45, 4), round(1 / 45, 4))
    assert accents.untrusted_text.hours == {"north": round(48 / 3600, 4), "south": round(40 / 3600, 4), "lone": round(2 / 3600, 4)}
    assert (by_field["gender"].groups, by_field["gender"].hours_known) == (1, round(44 / 3600, 4))
    assert "north" not in report.model_copy(update={"groups": ()}).model_dump_json()


def test_capitals_alone_and_a_phrase_again_and_again_are_named(ws: Workspace) -> None:
    texts = ["I WANT A TICKET.", "I want a ticket.", "Yes, " + "and then " * 5 + "he left.", "No no no no, he said."]
    for n in range(4):
        wav(ws.base_folder / f"{n}.wav", noise(8.0, seed=n))
    report = look(ws, manifest(ws.base_folder / "m.json", [row(f"{n}.wav", duration=8.0, text=text, target_lang="en-US") for n, text in enumerate(texts)])).data
    assert {code: at for code, at in found(report).items() if code != "text_unknown_characters"} == {"text_uncased": (1, (1,)), "text_repeats": (1, (3,))}
    assert [f.about for f in report.findings if f.code == "text_uncased"] == ["all capitals"]
    assert (report.style.cased, report.style.all_caps) == (0.75, 0.25)


def test_what_can_be_mended_or_marked_is_the_next_call_and_then_the_copy_is_ready(ws: Workspace) -> None:
    path = corpus(ws.base_folder, count=12)
    (path.parent / "3.wav").unlink()
    text = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([text[0].replace('"Θέλω', '"<el-GR> Θέλω'), "", *text[1:]]) + "\n", encoding="utf-8")
    result = look(ws, path)
    assert result.data.verdict == "NEEDS FIX"
    (action,) = result.next_actions
    assert (action.tool, action.arguments) == ("fix_manifest", {"manifest": str(path), "names": True, "strip_tags": True, "mark": ["audio_unusable"]})
    fixed = registry.call(action.tool, action.arguments, ws).data
    again = look(ws, fixed.manifest)
    assert (again.data.verdict, again.data.rows_skipped) == ("READY", 1)


def test_what_takes_long_becomes_a_job_and_the_answer_is_of_a_sample(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    path = corpus(ws.base_folder, count=40)
    monkeypatch.setattr(inspect_dataset, "LONGEST_S", 0.01)
    monkeypatch.setattr(inspect_dataset, "SAMPLE_S", 0.01)
    first = look(ws, path)
    assert first.data.rows == 40
    assert 0 < first.data.rows_inspected < 40
    (action,) = first.next_actions
    assert (action.tool, action.arguments["job_id"]) == ("get_job", first.data.job_id)
    view = get_job(ws, str(first.data.job_id))
    while view.state not in ENDED:
        view = get_job(ws, view.job_id, 45, wake_on_event=False)
    assert view.state == "succeeded"
    whole = InspectReport.model_validate(view.result)
    assert (whole.rows_inspected, whole.verdict, whole.job_id) == (40, "READY", None)
    (path.parent / "3.wav").write_bytes(b"no audio any more")
    assert look(ws, path).data.job_id != first.data.job_id


def test_an_inspection_that_is_a_job_stops_when_asked_and_tells_how_far_it_is(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    path = corpus(ws.base_folder, count=6)
    base = inspect_dataset.resolve_base(ws, "embedded").path
    request = InspectRequest(manifest=str(path), sha256="", base=base, base_name="embedded", roots=(str(ws.base_folder),))
    monkeypatch.setattr(inspect_job, "EVENT_ROWS", 2)
    reporter = Reporter()
    assert inspect_job.run(request, reporter).rows_inspected == 6
    assert reporter.events == [(2, 6), (4, 6), (6, 6)]
    with pytest.raises(Stopped):
        inspect_job.run(request, Reporter(stop_at=3))


def test_the_sample_of_a_long_set_is_as_large_as_the_time_for_it_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    path = manifest(tmp_path / "m.json", [row(duration=16.0)] * 3)
    assert inspect_dataset.expected_row_s(path) == pytest.approx(0.0005 + 16 / 800 / 2)
    assert inspect_dataset.expected_row_s(manifest(tmp_path / "bad.json", ["{"])) == 0


def test_texts_that_another_recogniser_did_not_hear_are_named(ws: Workspace) -> None:
    path = corpus(ws.base_folder, count=8)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    heard = [{"id": r["id"], "pred_text": r["text"].lower() if n != 5 else "Κάτι εντελώς διαφορετικό ακούστηκε."} for n, r in enumerate(rows[:7])]
    report = look(ws, path, heard=str(manifest(ws.base_folder / "heard.jsonl", heard))).data
    assert {code: lines for code, (_, lines) in found(report).items()} == {"text_not_heard": (6,)}
    assert report.heard is not None
    assert (report.heard.rows, report.heard.rows_missing, report.heard.median_disagreement, report.heard.rows_unheard) == (7, 1, 0.0, 1)
    assert "heard_missing" in {f.code for f in report.findings}
    assert "διαφορετικό" not in report.model_dump_json()


def test_a_recogniser_that_does_not_know_the_language_accuses_nobody(ws: Workspace) -> None:
    path = corpus(ws.base_folder, count=6)
    heard = manifest(ws.base_folder / "heard.jsonl", [{"id": f"train-{n}", "pred_text": "gibberish of another language"} for n in range(6)])
    report = look(ws, path, heard=str(heard)).data
    assert found(report) == {}
    assert {f.code for f in report.findings} >= {"heard_poor"}
    assert report.heard is not None
    assert (report.heard.rows_unheard, report.verdict) == (6, "READY")


def test_transcripts_that_cannot_be_read_are_refused_with_their_lines(ws: Workspace) -> None:
    path = corpus(ws.base_folder, count=2)
    with pytest.raises(AsrtuneError) as caught:
        look(ws, path, heard=str(manifest(ws.base_folder / "heard.jsonl", [{"id": "train-0", "text": "a"}, "{", {"id": "train-0", "text": "b"}])))
    assert (caught.value.code, [p.line for p in caught.value.problems]) == ("peer_hypotheses_invalid", [2, 3])
    with pytest.raises(AsrtuneError, match="path_refused"):
        look(ws, path, heard="/etc/hostname")
