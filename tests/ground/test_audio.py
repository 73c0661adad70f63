"""Audio in: formats that speech corpora come in, exact pieces, and files that are no audio."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from asrcore import audio_header
from asrcore.audio import AudioInfo, blocks, decode, probe
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


HEADERS = {
    "WAV": ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "GSM610"), "WAVEX": ("PCM_16", "PCM_24", "FLOAT"),
    "FLAC": ("PCM_S8", "PCM_16", "PCM_24"), "OGG": ("VORBIS",), "RF64": ("PCM_16",), "AU": ("ULAW",),
}  # fmt: skip


def said(path: Path) -> AudioInfo:
    """What libsndfile says of the file."""
    info = sf.info(path)
    return AudioInfo(info.samplerate, info.channels, info.frames, info.frames / info.samplerate, f"{info.format}/{info.subtype}")


@pytest.mark.parametrize(("form", "subtype"), [(form, subtype) for form, subtypes in HEADERS.items() for subtype in subtypes])
def test_headers_are_read_as_libsndfile_reads_them(tmp_path: Path, form: str, subtype: str) -> None:
    for channels in (1,) if subtype == "GSM610" else (1, 2):
        path = wav(tmp_path / f"{channels}.audio", np.stack([noise(0.101, 8000)] * channels, axis=1), 8000, format=form, subtype=subtype)
        assert probe(path) == said(path)


def test_a_header_that_lies_is_read_as_libsndfile_reads_it_or_refused_where_it_refuses(tmp_path: Path) -> None:
    """Sizes of zero and of four billion (a stream that was never closed), files cut short at any byte, chunks in front and behind, padding of 8 kB."""
    pcm = wav(tmp_path / "a.wav", noise(0.01), subtype="PCM_16").read_bytes()
    flac = wav(tmp_path / "a.flac", noise(0.01), subtype="PCM_16").read_bytes()
    size = struct.pack("<I", 320)
    made = {
        "zero": pcm[:40] + bytes(4) + pcm[44:], "stream": pcm[:40] + b"\xff" * 4 + pcm[44:], "odd": pcm[:40] + struct.pack("<I", 319) + pcm[44:],
        "riff_zero": pcm[:4] + bytes(4) + pcm[8:], "behind": pcm + b"LIST" + size + bytes(320), "front": pcm[:36] + b"LIST" + size + bytes(320) + pcm[36:],
        "long_front": pcm[:36] + b"LIST" + struct.pack("<I", 2000) + bytes(2000) + pcm[36:], "other_block": pcm[:32] + b"\x04\x00" + pcm[34:],
        "flac_padded": flac[:4] + bytes([flac[4] & 0x7F]) + flac[5:42] + b"\x01" + (8192).to_bytes(3, "big") + bytes(8192) + flac[42:],
        "flac_no_length": flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:], "flac_text": flac[:42] + b"not a frame at all" * 20,
    } | {f"pcm_{cut}": pcm[:cut] for cut in range(0, 64, 3)} | {f"flac_{cut}": flac[:cut] for cut in range(0, len(flac), 11)}  # fmt: skip
    for name, data in made.items():
        path = tmp_path / name
        path.write_bytes(data)
        try:
            expected = said(path)
        except (sf.LibsndfileError, TypeError):
            with pytest.raises(NotReadyError, match=r"audio_unreadable|audio_empty"):
                probe(path)
            continue
        if expected.frames == 0:
            with pytest.raises(NotReadyError, match="audio_empty"):
                probe(path)
        else:
            assert probe(path) == expected, name


def test_a_header_and_all_bytes_of_a_file_come_of_one_opening_where_they_are_wanted_and_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wav(tmp_path / "a.wav", noise(0.5))
    assert audio_header.read_file(path, lambda info: info.frames == 8_000) == (said(path), path.read_bytes())
    assert audio_header.read_file(path, lambda info: info.frames != 8_000) == (said(path), b"")
    assert audio_header.read_file(tmp_path / "none.wav", lambda _: True) is None
    real = os.pread
    monkeypatch.setattr(audio_header.os, "pread", lambda handle, count, at: real(handle, min(count, 9_000), at))  # a file that gets shorter
    assert audio_header.read_file(path, lambda _: True) is None


def test_a_long_recording_comes_in_blocks_that_are_the_whole_of_it(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", noise(150.0), subtype="PCM_16")
    found = list(blocks(path, offset=1.0))
    assert [len(block) for block in found] == [2**20, 2**20, 149 * 16_000 - 2 * 2**20]
    np.testing.assert_array_equal(np.concatenate(found), decode(path, offset=1.0))
