"""Lossy shards, where a person asks for them: Opus that every reader takes, the same bytes every time, and a result that says what it cost."""

from __future__ import annotations

import json
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from asrcore.audio import decode
from asrcore.data import opus, shards
from asrcore.data.channel import parse_chains
from asrcore.data.shard_request import bytes_per_second, check_manifests, make_request
from asrcore.data.shards import run, verify_shards
from asrcore.data_requests import ChannelPlan
from asrcore.errors import Stopped, ToolFault
from asrcore.requests import ShardsRequest, ShardsResult
from tests.data.speech import corpus, manifest, noise, row, wav
from tests.data.test_shards import Reporter, bytes_of, members_of, rows_of


def request_for(tmp_path: Path, path: Path, kbits: int = 24, home: str = "shards", **options: Any) -> ShardsRequest:
    return make_request(check_manifests([path], [], [tmp_path]), 0.1, utterances_per_shard=2, seed=0, folder=tmp_path / home, opus=kbits, **options)


def voice(seconds: float, seed: int = 0) -> Any:
    return noise(seconds, seed=seed, top=3_000)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A WAV that lossless shards would copy, telephone audio, a piece of a recording, and Opus as shards hold it."""
    folder = tmp_path / "in"
    wav(folder / "a.wav", voice(2.0))
    wav(folder / "b.wav", noise(2.0, 8_000), 8_000, subtype="GSM610")
    wav(folder / "c.flac", voice(5.0, 3))
    wav(folder / "d.ogg", voice(2.0, 4), format="OGG", subtype="OPUS")
    return manifest(folder / "manifest.json", [row("a.wav", id="a"), row("b.wav", id="b"), row("c.flac", id="c", offset=1.0), row("d.ogg", id="d")])


def test_every_member_is_opus_of_its_full_length_and_what_was_opus_is_copied(tmp_path: Path, mixed: Path) -> None:
    root = Path(run(request_for(tmp_path, mixed), Reporter()).root)
    members, made = members_of(root), {r["id"]: r for r in rows_of(root)}
    assert len(members) == len(made) == 4
    for identity, name, offset in (("a", "a.wav", 0.0), ("b", "b.wav", 0.0), ("c", "c.flac", 1.0)):
        info, data = sf.info(BytesIO(members[made[identity]["audio_filepath"]])), members[made[identity]["audio_filepath"]]
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("OGG", "OPUS", 16_000, 1)
        heard, original = sf.read(BytesIO(data), dtype="float32")[0], decode(mixed.parent / name, offset=offset, duration=2.0)
        assert len(heard) == round(made[identity]["duration"] * 16_000) == len(original)
        assert np.corrcoef(heard, original)[0, 1] > 0.8
    assert members[made["d"]["audio_filepath"]] == (mixed.parent / "d.ogg").read_bytes()
    assert verify_shards(root) == []


def test_the_same_input_gives_the_same_bytes_also_from_several_processes(tmp_path: Path, mixed: Path) -> None:
    """libsndfile numbers Ogg streams by chance, so its own bytes differ every time."""
    plain = [BytesIO(), BytesIO()]
    for out in plain:
        sf.write(out, voice(1.0), 16_000, format="OGG", subtype="OPUS")
    assert plain[0].getvalue() != plain[1].getvalue()
    first, second = (run(request_for(tmp_path, mixed, home=home, shar=True), Reporter(), workers=n) for home, n in (("one", 1), ("two", 2)))
    assert bytes_of(Path(first.root)) == bytes_of(Path(second.root))
    assert first.opus == second.opus


def test_the_result_says_that_it_is_lossy_and_what_that_took_and_left(tmp_path: Path, mixed: Path) -> None:
    coarse, fine = run(request_for(tmp_path, mixed, 16), Reporter()), run(request_for(tmp_path, mixed, 64), Reporter())
    assert coarse.shards_id != fine.shards_id
    assert coarse.opus is not None
    assert fine.opus is not None
    assert (coarse.opus.kbits, fine.opus.kbits) == (16, 64)
    assert coarse.opus.snr_db is not None
    assert fine.opus.snr_db is not None
    assert 0 < coarse.opus.snr_db < fine.opus.snr_db - 3
    assert coarse.opus.bytes == sum(p.stat().st_size for p in Path(coarse.root).rglob("audio_*.tar")) < fine.opus.bytes
    assert ShardsResult.model_validate_json((Path(coarse.root) / "index.json").read_bytes()) == coarse
    lossless = run(request_for(tmp_path, mixed, 0), Reporter())
    assert lossless.opus is None
    assert lossless.shards_id == Path(make_request(check_manifests([mixed], [], [tmp_path]), 0.1, utterances_per_shard=2, seed=0, folder=tmp_path).out).name


def test_the_loss_is_that_of_the_codec_alone(tmp_path: Path) -> None:
    """Of audio that went through a channel, the channel's own change is wanted; and a copy loses nothing."""
    path = corpus(tmp_path, count=2)
    facts = check_manifests([path], [], [tmp_path])
    heard: dict[Any, ChannelPlan | None] = {"train": ChannelPlan(chains=parse_chains(["bandpass:300-3400"]))}
    made = run(make_request(facts, 0.1, utterances_per_shard=2, seed=0, folder=tmp_path / "heard", channels=heard, opus=64), Reporter())
    assert made.opus is not None
    assert made.opus.snr_db is not None
    assert made.opus.snr_db > 10  # of the wideband noise that went in, more than half is gone
    wav(tmp_path / "d.ogg", voice(2.0), format="OGG", subtype="OPUS")
    copied = run(request_for(tmp_path, manifest(tmp_path / "copied.json", [row("d.ogg")])), Reporter())
    assert copied.opus is not None
    assert copied.opus.snr_db is None


def test_a_stopped_build_goes_on_to_the_same_bytes_and_the_same_loss(tmp_path: Path, mixed: Path) -> None:
    whole, request = run(request_for(tmp_path, mixed, home="whole"), Reporter()), request_for(tmp_path, mixed)
    with pytest.raises(Stopped):
        run(request, Reporter(stop_at=4))
    made = run(request, Reporter())
    assert bytes_of(Path(made.root)) == bytes_of(Path(whole.root))
    assert made.opus == whole.opus


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20_000), st.sampled_from([16, 24, 64]), st.sampled_from(["noise", "clipped", "silence"]))
def test_audio_of_any_length_comes_back_as_long_as_it_was_and_within_the_room_that_was_asked_for(count: int, kbits: Any, kind: str) -> None:
    samples = np.random.default_rng(count).standard_normal(count).astype(np.float32) * (0 if kind == "silence" else 0.1)
    samples = np.clip(samples * 30, -1, 1) if kind == "clipped" else samples
    made = opus.encode(samples, kbits)
    assert len(sf.read(BytesIO(made.data))[0]) == count
    assert len(made.data) <= bytes_per_second(kbits) * count / 16_000 + shards.BYTES_PER_ROW
    assert made.data == opus.encode(samples, kbits).data


def test_a_stream_keeps_its_checksums_when_its_number_changes() -> None:
    """RFC 3533: a decoder drops a page whose checksum is wrong. libsndfile's own pages are the oracle of the checksum."""
    out = BytesIO()
    sf.write(out, voice(3.0), 16_000, format="OGG", subtype="OPUS")
    stream = out.getvalue()
    own = struct.unpack_from("<I", stream, 14)[0]
    assert opus.with_serial(stream, own) == stream
    other = opus.with_serial(stream, own ^ 1)
    assert other != stream
    np.testing.assert_array_equal(sf.read(BytesIO(other))[0], sf.read(BytesIO(stream))[0])
    with pytest.raises(ValueError, match="Ogg page"):
        opus.with_serial(b"x" * 60, 1)


def test_a_codec_that_gives_another_length_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sf.read
    monkeypatch.setattr(opus.sf, "read", lambda *a, **k: (real(*a, **k)[0][:-1], 16_000))
    with pytest.raises(ToolFault, match="opus_failed"):
        opus.encode(voice(0.5), 24)


def test_rows_of_lossy_shards_name_members_that_any_reader_knows_by_their_ending(tmp_path: Path, mixed: Path) -> None:
    root = Path(run(request_for(tmp_path, mixed, shar=True), Reporter()).root)
    assert {Path(r["audio_filepath"]).suffix for r in rows_of(root)} == {".ogg"}
    cuts = [json.loads(line) for path in root.rglob("cuts.*.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    assert sorted(c["recording"]["num_samples"] for c in cuts) == [32_000] * 4
