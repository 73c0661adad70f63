"""Audio in: formats that speech corpora come in, exact pieces, and files that are no audio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asrcore.audio import decode, probe
from asrcore.errors import NotReadyError
from tests.data.speech import noise, wav

FORMS = {
    "pcm.wav": {"subtype": "PCM_16"}, "float.wav": {"subtype": "FLOAT"}, "ulaw.wav": {"subtype": "ULAW"}, "a.flac": {"subtype": "PCM_16"},
    "gsm.wav": {"subtype": "GSM610"}, "opus.ogg": {"format": "OGG", "subtype": "OPUS"}, "vorbis.ogg": {"format": "OGG", "subtype": "VORBIS"},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_piece_of_a_file_is_the_same_samples_as_in_the_whole(tmp_path: Path, name: str) -> None:
    path = wav(tmp_path / name, noise(2.0, top=3000), **FORMS[name])
    whole, piece = decode(path), decode(path, offset=0.5, duration=0.75)
    assert len(piece) == 12_000
    np.testing.assert_array_equal(piece, whole[8_000:20_000])


def test_the_header_tells_rate_channels_and_format(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", np.stack([noise(0.5, 8000)] * 2, axis=1), 8000)
    assert probe(path) == (8000, 2, 4000, 0.5, "WAV/PCM_16")


def test_other_rates_are_resampled_and_channels_averaged(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000).astype(np.float32)
    path = wav(tmp_path / "a.wav", np.stack([tone, np.zeros_like(tone)], axis=1), 8000, subtype="FLOAT")
    samples = decode(path)
    assert (samples.dtype, len(samples)) == (np.float32, 16_000)
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(samples[1000:-1000], expected[1000:-1000], atol=1e-3)


def test_a_piece_over_the_end_is_cut_there_and_one_behind_it_is_empty(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", noise(1.0))
    assert len(decode(path, offset=0.75, duration=2)) == 4_000
    with pytest.raises(NotReadyError, match="audio_empty"):
        decode(path, offset=1.5)


def test_what_is_no_audio_has_a_code_and_a_next_step(tmp_path: Path) -> None:
    (tmp_path / "zero.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_bytes(b"this is no audio at all, only text")
    (tmp_path / "text.raw").write_bytes(b"1234")
    (tmp_path / "folder.wav").mkdir()
    wav(tmp_path / "header.wav", np.zeros(0, dtype=np.float32))
    wav(tmp_path / "nan.wav", np.full(100, np.nan, dtype=np.float32), subtype="FLOAT")
    codes = {}
    for path in [*tmp_path.iterdir(), tmp_path / "none.wav"]:
        with pytest.raises(NotReadyError) as caught:
            decode(path)
        assert caught.value.next_step
        codes[path.name] = caught.value.code
    assert codes == {
        "zero.wav": "audio_empty", "header.wav": "audio_empty", "text.wav": "audio_unreadable", "text.raw": "audio_unreadable",
        "nan.wav": "audio_unreadable", "folder.wav": "audio_missing", "none.wav": "audio_missing",
    }  # fmt: skip


def test_a_file_that_breaks_off_gives_fewer_samples_or_an_error_but_never_made_up_ones(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.flac", noise(2.0))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    whole = noise(2.0)
    try:
        samples = decode(path)
    except NotReadyError as error:
        assert error.code == "audio_unreadable"
    else:
        assert len(samples) < 20_000
        np.testing.assert_allclose(samples, whole[: len(samples)], atol=1e-4)
