"""Audio at the edges of what there is goes through import, inspection and shards like any other: very short, very long, 96 kHz in six channels."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from asrcore.audio import decode
from asrcore.workspace import Workspace
from tests.data.speech import manifest, noise, row, wav
from tests.data.test_import import rows, take
from tests.data.test_inspect import found, look
from tests.data.test_shards import Reporter, members_of, request_for, rows_of, run

THREE_HOURS_S = 3 * 3600


def three_hours(path: Path) -> Path:
    """A minute of noise again and again, at 8 kHz."""
    minute = noise(60.0, 8_000, seed=4)
    with sf.SoundFile(path, "w", 8_000, 1, subtype="PCM_16", format="FLAC") as file:
        for _ in range(THREE_HOURS_S // 60):
            file.write(minute)
    return path


def test_a_hundredth_of_a_second_and_six_channels_at_96_khz_reach_the_shards(ws: Workspace) -> None:
    here = ws.base_folder / "corpus"
    wav(here / "tiny.wav", noise(0.01))
    wav(here / "six.wav", np.stack([noise(2.0, 96_000, seed=n, top=7_000) for n in range(6)], axis=1), 96_000)
    (here / "t.csv").write_text("audio,text\ntiny.wav,Ναι.\nsix.wav,Θέλω ένα εισιτήριο.\n", encoding="utf-8")
    report = take(ws, "corpus/t.csv", decode=True).data
    assert [round(r.utterance.duration, 4) for r in rows(report)] == [0.01, 2.0]
    inspected = look(ws, report.manifest).data
    assert (inspected.rows_inspected, inspected.rows_with_errors) == (2, 0)
    assert {name: hours for name, hours in inspected.hours_by_sample_rate.items() if hours} == {"96000": round(2 / 3600, 4)}
    assert found(inspected)["audio_channels"] == (1, (2,))
    assert [f.rows for f in inspected.filters if f.limit == "min_duration 0.1"] == [1]
    root = Path(run(request_for(ws.base_folder, Path(report.manifest)), Reporter()).root)
    packed = {r["id"].rsplit("/", 1)[-1]: sf.read(BytesIO(members_of(root)[r["audio_filepath"]]), dtype="float32") for r in rows_of(root)}
    assert {name: (len(samples), rate) for name, (samples, rate) in packed.items()} == {"tiny": (160, 16_000), "six": (32_000, 16_000)}
    np.testing.assert_allclose(packed["six"][0], decode(here / "six.wav"), atol=1 / 32768)


def test_three_hours_in_one_file_are_inspected_in_blocks_and_told_as_too_long_for_training(ws: Workspace) -> None:
    three_hours(ws.base_folder / "long.flac")
    path = manifest(ws.base_folder / "m.json", [row("long.flac", duration=float(THREE_HOURS_S), text="Ναι."), row("long.flac", offset=3.0, duration=5.0)])
    report = look(ws, path).data
    assert report.hours == pytest.approx(3, abs=0.01)
    assert {f.limit: f.rows for f in report.filters}["max_duration 39.99"] == 1
    assert report.hours_by_duration["40-"] == 3.0
    assert report.rows_with_errors == 0
