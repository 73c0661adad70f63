"""Simulated telephone lines: what a chain may say, that it sounds as it says, that an utterance draws the same every time, and where it is applied."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from asrcore.audio import MODEL_RATE, Samples, decode
from asrcore.data import channel_codecs
from asrcore.data.channel import PRESETS, STEPS, codecs_of, parse_chains
from asrcore.data.channel_draw import CHANNEL_FIELD, DRAWN_FIELD
from asrcore.data.channel_sound import Channel, in_room, lose_packets, make_plan, with_noise
from asrcore.data.leakage import compare_sets
from asrcore.data.shard_request import check_manifests, make_request
from asrcore.data.shards import run, verify_shards
from asrcore.data.signal import NARROW_BAND_SHARE, measure
from asrcore.data_requests import ChannelPlan, NoiseRef
from asrcore.errors import AsrtuneError, EnvironmentFault, NotReadyError, Stopped, ToolFault, UsageError
from asrcore.io import sha256_file
from asrcore.jobs import ENDED, get_job
from asrcore.manifest import Row, Utterance
from asrcore.requests import ShardsRequest
from asrcore.workspace import Workspace
from asrtune import registry
from tests.data.speech import corpus, manifest, noise, row, wav

ISSUE = "bandpass:300-3400,alaw,gsm,noise:10-20,level:-18--4,loss:0.02"


class Silent:
    def event(self, stage: str, step: int = 0, total: int = 0, message: str = "", **metrics: float) -> None: ...

    def stop_if_asked(self) -> None: ...


def channel(*chains: str, seed: int = 0) -> Channel:
    plan = make_plan(chains, None, ())
    assert plan is not None
    return Channel(plan, seed)


def named(identity: str | None = "u1", audio: str = "a.wav") -> Row:
    return Row(1, Utterance.model_validate({**row(audio), "id": identity}), Path(audio))


def voice(seconds: float = 2.0, pitch: float = 120.0) -> Samples:
    """A hum with a formant, a gliding pitch and pauses: as periodic as a vowel, which codecs are made for, and like itself at one place only."""
    time = np.arange(round(seconds * MODEL_RATE)) / MODEL_RATE
    phase = 2 * np.pi * pitch * (time - 0.3 * np.cos(2 * np.pi * 0.4 * time))
    hum = sum(np.sin(n * phase + n) / n * (1 + 2 * np.exp(-(((pitch * n - 700) / 300) ** 2))) for n in range(1, 20))
    samples = (hum * np.clip(np.sin(2 * np.pi * 1.5 * time), 0, 1)).astype(np.float32)
    return samples / np.abs(samples).max() * np.float32(0.5)


def narrow(samples: Samples) -> Samples:
    """To 8 kHz and back, and nothing else."""
    return np.asarray(soxr.resample(soxr.resample(samples, MODEL_RATE, 8_000), 8_000, MODEL_RATE), dtype=np.float32)[: len(samples)]


def heard(chain: str, samples: Samples, identity: str = "u1", seed: int = 0) -> Samples:
    line = channel(chain, seed=seed)
    return line.play(samples, line.draw(named(identity)))


# --- the grammar ------------------------------------------------------------------------------------------------------------------------


def test_the_chain_of_the_issue_is_read_and_written_back_as_it_stands() -> None:
    (chain,) = parse_chains([f" {ISSUE} "])
    assert (chain.name, chain.steps) == (ISSUE, ISSUE)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_written_out_and_needs_nothing_that_a_plain_install_lacks(name: str) -> None:
    (chain,) = parse_chains([name])
    assert (chain.name, chain.steps) == (name, PRESETS[name])
    assert "amr" not in codecs_of([chain])


steps = st.sampled_from(sorted(STEPS)).flatmap(
    lambda name: st.just(name) if STEPS[name].takes == "nothing" else
    st.sampled_from(STEPS[name].choices).map(lambda c: f"{name}:{c}") if STEPS[name].choices else
    st.lists(st.floats(STEPS[name].least, STEPS[name].most).map(lambda v: round(v, 5)), min_size=2, max_size=2, unique=True).map(
        lambda pair: f"{name}:{min(pair):.5f}-{max(pair):.5f}")
)  # fmt: skip


@given(st.lists(st.lists(steps, min_size=1, max_size=3).map("|".join), min_size=1, max_size=6).map(",".join))
def test_every_chain_of_the_grammar_is_read_and_its_written_form_means_the_same(text: str) -> None:
    (chain,) = parse_chains([text])
    (again,) = parse_chains([chain.steps])
    assert again.steps == chain.steps


def test_all_problems_of_all_chains_come_in_one_answer() -> None:
    with pytest.raises(UsageError) as caught:
        parse_chains(["phone", "noise:ten,level:-4--18,gsm:13", "opus:999,g726:16,", "alaw,none", "a\u202eb|ulaw"])
    assert caught.value.code == "channel_invalid"
    assert len(caught.value.problems) == 9
    assert "\u202e" not in str(caught.value) + "".join(p.message for p in caught.value.problems)
    with pytest.raises(UsageError, match="twice"):
        parse_chains(["telephone", PRESETS["telephone"]])


def test_a_codec_without_an_encoder_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch, ws: Workspace) -> None:
    monkeypatch.setattr(channel_codecs, "amr_encoder", lambda: None)
    path = corpus(ws.base_folder, count=1)
    for tool, call in (("apply_channel", {"manifest": str(path)}), ("build_shards", {"train": [str(path)]})):
        with pytest.raises(EnvironmentFault, match="gsm") as caught:
            registry.call(tool, {**call, "channel": ["bandpass,amr:12.2"]}, ws)
        assert caught.value.code == "encoder_missing"
    assert not ws.home.exists()


# --- what is drawn ----------------------------------------------------------------------------------------------------------------------


def test_an_utterance_sounds_the_same_whenever_its_id_and_the_seed_are_and_else_not() -> None:
    sound = voice(1.0)
    first = heard("mobile", sound)
    np.testing.assert_array_equal(first, heard("mobile", sound))
    assert not np.array_equal(first, heard("mobile", sound, identity="u2"))
    assert not np.array_equal(first, heard("mobile", sound, seed=1))


def test_rows_without_an_id_are_told_apart_by_file_and_piece() -> None:
    line = channel("noise:0-60")
    drawn = {line.draw(named(None, audio)).fields[DRAWN_FIELD] for audio in ("a.wav", "b.wav", "c.wav")}
    assert len(drawn) == 3


def test_a_step_more_does_not_change_what_the_steps_before_it_draw() -> None:
    values = [channel(chain).draw(named()).steps[:2] for chain in ("noise:0-60,level:-30--1", "noise:0-60,level:-30--1,loss:0-0.5")]
    assert values[0] == values[1]


@pytest.mark.parametrize("chain", ["telephone", "voip", "room:0.1-0.9,loss:0-0.5", ISSUE])
def test_what_a_row_records_is_a_chain_that_makes_the_same_sound_again(chain: str) -> None:
    sound = voice(1.0)
    line = channel(chain)
    drawn = line.draw(named())
    assert drawn.fields[CHANNEL_FIELD] == chain
    np.testing.assert_array_equal(line.play(sound, drawn), heard(drawn.fields[DRAWN_FIELD], sound))


def test_of_several_chains_each_is_drawn_about_as_often_and_none_leaves_the_samples_alone() -> None:
    line = channel("none", "telephone", "gsm|alaw")
    drawn = [line.draw(named(str(n))) for n in range(600)]
    counts = {name: sum(d.name == name for d in drawn) for name in ("none", "telephone", "gsm|alaw")}
    assert all(150 < count < 250 for count in counts.values())
    codecs = [d.fields[DRAWN_FIELD] for d in drawn if d.name == "gsm|alaw"]
    assert 60 < codecs.count("gsm") < 140
    sound = voice(0.2)
    assert line.play(sound, next(d for d in drawn if d.name == "none")) is sound


# --- how it sounds ----------------------------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.sampled_from(["telephone", "mobile", "voip", ISSUE, "room", "noise", "loss:0.5", "g726:24", "bandpass:50-7000"]), st.integers(1, 4_000))
def test_samples_keep_their_number_stay_finite_and_do_not_clip(chain: str, length: int) -> None:
    sound = (np.random.default_rng(length).standard_normal(length) * 0.5).clip(-1, 1).astype(np.float32)
    made = heard(chain, sound, identity=str(length))
    assert made.dtype == np.float32
    assert len(made) == length
    assert np.isfinite(made).all()
    assert np.abs(made).max(initial=0.0) <= 1.0


def test_silence_goes_through_every_preset_without_becoming_speech() -> None:
    for name in PRESETS:
        assert np.abs(heard(name, np.zeros(8_000, dtype=np.float32))).max() < 0.01


@pytest.mark.parametrize("chain", ["telephone", "mobile", "voip", "alaw", "ulaw", "gsm", "g726:24", "g726:40", "opus:12", "bandpass:300-3400"])
def test_behind_a_narrow_band_nothing_is_left_above_four_kilohertz(chain: str) -> None:
    """Trap 3.27f: inspect_dataset must find simulated telephone audio to be what it is."""
    assert measure([noise(2.0)], MODEL_RATE).high_share > 100 * NARROW_BAND_SHARE
    assert measure([heard(chain, noise(2.0))], MODEL_RATE).high_share < NARROW_BAND_SHARE


@pytest.mark.parametrize(
    ("step", "least"), [("alaw", 0.99), ("ulaw", 0.99), ("g726:40", 0.99), ("g726:32", 0.98), ("g726:24", 0.95), ("gsm", 0.9), ("opus:16", 0.9)]
)
def test_a_codec_keeps_the_speech_and_its_time(step: str, least: float) -> None:
    sound = voice()
    through, plain = heard(step, sound), narrow(sound)
    assert abs(int(np.argmax(fftconvolve(through, plain[::-1]))) - (len(plain) - 1)) <= 2
    assert np.corrcoef(through, plain)[0, 1] > least


def test_amr_keeps_the_speech_and_its_time_where_there_is_an_encoder() -> None:
    if channel_codecs.amr_encoder() is None:
        pytest.skip("no ffmpeg with AMR-NB on this machine")
    sound = voice()
    through, plain = heard("amr:12.2", sound), narrow(sound)
    assert abs(int(np.argmax(fftconvolve(through, plain[::-1]))) - (len(plain) - 1)) <= 2
    assert np.corrcoef(through, plain)[0, 1] > 0.5  # its high-pass at 80 Hz turns the phase of the hum's fundamental


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.5, 40.0])
def test_noise_has_the_ratio_to_the_speech_that_was_asked_for(snr_db: float) -> None:
    sound = voice()
    added = heard(f"noise:{snr_db}", sound * np.float32(0.1)) - sound * np.float32(0.1)
    ratio = 10 * np.log10(np.mean((sound * 0.1) ** 2) / np.mean(added**2))
    assert ratio == pytest.approx(snr_db, abs=0.05)
    np.testing.assert_array_equal(with_noise(sound, np.zeros_like(sound), snr_db), sound)


@pytest.mark.parametrize("dbfs", [-30.0, -6.0, -1.0])
def test_the_level_is_that_of_the_highest_sample(dbfs: float) -> None:
    assert 20 * np.log10(np.abs(heard(f"level:{dbfs}", voice())).max()) == pytest.approx(dbfs, abs=0.01)


@pytest.mark.parametrize("rt60", [0.2, 0.6])
def test_a_room_decays_by_sixty_decibels_in_its_time(rt60: float) -> None:
    click = np.zeros(2 * MODEL_RATE, dtype=np.float32)
    click[0] = 1.0
    tail = in_room(click, MODEL_RATE, rt60, np.random.default_rng(0))
    assert tail[0] == pytest.approx(1.0, abs=1e-4)
    energy = 10 * np.log10(np.cumsum(tail[:0:-1] ** 2)[::-1] + 1e-12)  # Schroeder's backward integral, without the direct sound
    energy -= energy[0]
    fall = np.polyfit(np.arange(len(energy))[(energy < -5) & (energy > -25)] / MODEL_RATE, energy[(energy < -5) & (energy > -25)], 1)[0]
    assert -60 / fall == pytest.approx(rt60, rel=0.15)


def test_lost_packets_are_as_many_as_asked_for_and_concealed_by_the_pitch_before_them() -> None:
    sound = voice(20.0)
    made = lose_packets(sound, MODEL_RATE, 0.1, np.random.default_rng(0))
    size = MODEL_RATE // 50
    changed = np.abs(made - sound).reshape(-1, size).max(axis=1) > 1e-6
    loud = np.abs(sound).reshape(-1, size).max(axis=1) > 0.01
    assert 0.08 < changed[loud].mean() < 0.25  # the packets lost, and those that a cross-fade leads into
    vowel = np.sin(2 * np.pi * 125 * np.arange(MODEL_RATE) / MODEL_RATE).astype(np.float32)
    gap = np.zeros(50, dtype=bool)
    gap[25] = True

    class Chosen:
        def random(self, count: int) -> Any:
            return np.where(gap[:count], 0.0, 1.0)

    mended = lose_packets(vowel, MODEL_RATE, 0.5, Chosen())
    at = slice(25 * size, 25 * size + size // 2)
    np.testing.assert_allclose(mended[at], vowel[at], atol=0.02)  # the first 10 ms go on as the vowel would
    np.testing.assert_array_equal(mended[: 25 * size], vowel[: 25 * size])
    np.testing.assert_array_equal(mended[26 * size + 64 :], vowel[26 * size + 64 :])


# --- noise files ------------------------------------------------------------------------------------------------------------------------


def test_noise_comes_from_the_folder_where_one_is_given(ws: Workspace) -> None:
    time = np.arange(MODEL_RATE // 2) / MODEL_RATE
    wav(ws.base_folder / "noise" / "tone.wav", (0.1 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32))
    plan = make_plan(("noise:0",), ws.base_folder / "noise", ws.data_roots)
    assert plan is not None
    line = Channel(plan, 0)
    added = line.play(voice(), line.draw(named())) - voice()
    spectrum = np.abs(np.fft.rfft(added))
    assert np.argmax(spectrum) / len(added) * MODEL_RATE == pytest.approx(1000, abs=2)


def test_noise_that_changed_or_that_nobody_takes_or_that_is_no_audio_is_refused(ws: Workspace) -> None:
    file = wav(ws.base_folder / "noise" / "a.wav", noise(0.5))
    with pytest.raises(UsageError, match="noise_unused"):
        make_plan(("gsm",), file.parent, ws.data_roots)
    with pytest.raises(UsageError, match="noise_unused"):
        make_plan((), file.parent, ws.data_roots)
    plan = make_plan(("noise:5",), file.parent, ws.data_roots)
    assert plan is not None
    wav(file, noise(0.5, seed=1))
    with pytest.raises(NotReadyError, match="fingerprint_mismatch"):
        Channel(plan, 0)
    (file.parent / "b.wav").write_bytes(b"no audio")
    with pytest.raises(NotReadyError) as caught:
        make_plan(("noise:5",), file.parent, ws.data_roots)
    assert (caught.value.code, [Path(str(p.file)).name for p in caught.value.problems]) == ("noise_invalid", ["b.wav"])


def test_a_noise_file_that_breaks_while_in_use_ends_the_work_and_blames_no_row(tmp_path: Path) -> None:
    file = wav(tmp_path / "a.wav", noise(0.5))
    line = Channel(ChannelPlan(chains=parse_chains(["noise:5"]), noise=(NoiseRef(path=str(file), sha256=sha256_file(file)),)), 0)
    file.write_bytes(b"gone")
    with pytest.raises(ToolFault, match="noise_unreadable"):
        line.play(voice(), line.draw(named()))


# --- shards -----------------------------------------------------------------------------------------------------------------------------


def request_for(folder: Path, path: Path, *chains: str, seed: int = 0, home: str = "shards", **options: Any) -> ShardsRequest:
    facts = check_manifests([path], [], [folder])
    plan = make_plan(chains, None, (folder,))
    return make_request(facts, 0.1, utterances_per_shard=4, seed=seed, folder=folder / home, channels={"train": plan}, **options)


def contents(archive: tarfile.TarFile) -> dict[str, bytes]:
    files: Any = {info.name: archive.extractfile(info) for info in archive}
    return {name: file.read() for name, file in files.items()}


def packed(root: Path) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    rows = [json.loads(line) for path in sorted(root.glob("*/manifest_*.json")) for line in path.read_text(encoding="utf-8").splitlines()]
    members: dict[str, bytes] = {}
    for tar in sorted(root.glob("*/audio_*.tar")):
        with tarfile.open(tar) as archive:
            members |= contents(archive)
    return rows, members


def test_shards_hold_what_the_channel_makes_of_each_row_and_say_so(tmp_path: Path) -> None:
    path = corpus(tmp_path, count=8)
    result = run(request_for(tmp_path, path, "telephone", "none"), Silent())
    rows, members = packed(Path(result.root))
    line = channel("telephone", "none")
    assert result.sources[0].channels == ("telephone", "none")
    assert {r[CHANNEL_FIELD] for r in rows} == {"telephone", "none"}
    assert sorted(r["id"] for r in rows) == sorted(f"train-{n}" for n in range(8))
    for made in rows:
        original = path.parent / f"{made['id'].removeprefix('train-')}.wav"
        data = members[made["audio_filepath"]]
        if made[CHANNEL_FIELD] == "none":
            assert data == original.read_bytes()
            continue
        (tmp_path / "member.flac").write_bytes(data)
        wanted = line.play(decode(original), line.draw(named(made["id"])))
        np.testing.assert_allclose(decode(tmp_path / "member.flac"), wanted, atol=1 / 32768)
        assert made["duration"] == pytest.approx(len(wanted) / MODEL_RATE, abs=1e-6)


def test_the_channel_is_part_of_the_shards_id_and_equal_calls_give_equal_bytes(tmp_path: Path) -> None:
    path = corpus(tmp_path, count=3)
    ids = {Path(request_for(tmp_path, path, *chains, seed=seed).out).name
           for chains, seed in (((), 0), (("telephone",), 0), (("telephone",), 1), (("mobile",), 0), (("telephone", "none"), 0))}  # fmt: skip
    assert len(ids) == 5
    plain = make_request(check_manifests([path], [], [tmp_path]), 0.1, utterances_per_shard=4, seed=0, folder=tmp_path)
    assert Path(plain.out).name == Path(request_for(tmp_path, path).out).name
    roots = [Path(run(request_for(tmp_path, path, "voip", home=home), Silent()).root) for home in ("one", "two")]
    assert packed(roots[0]) == packed(roots[1])


def test_a_row_with_bad_audio_is_still_named_when_there_is_a_channel(tmp_path: Path) -> None:
    path = corpus(tmp_path, count=5)
    request = request_for(tmp_path, path, "telephone")
    (path.parent / "3.wav").write_bytes(b"no audio")
    with pytest.raises(NotReadyError) as caught:
        run(request, Silent())
    assert [(p.code, p.line) for p in caught.value.problems] == [("audio_unreadable", 4)]


def test_the_shar_twin_holds_the_very_bytes_of_the_tar_and_is_verified_and_resumed(tmp_path: Path) -> None:
    path = corpus(tmp_path, count=6)
    result = run(request_for(tmp_path, path, shar=True), Silent())
    root = Path(result.root)
    rows, members = packed(root)
    twins: dict[str, bytes] = {}
    for shard in result.sources[0].shards:
        assert shard.shar is not None
        with tarfile.open(root / shard.shar.recording) as archive:
            names = archive.getnames()
            twins |= {name: data for name, data in contents(archive).items() if not name.endswith(".json")}
            assert [n.rsplit(".", 1)[0] for n in names[::2]] == [n.removesuffix(".json") for n in names[1::2]]
            cuts = [json.loads(line) for line in (root / shard.shar.cuts).read_text(encoding="utf-8").splitlines()]
            assert [c["id"] for c in cuts] == [n.removesuffix(".json") for n in names[1::2]]
            assert all(c["recording"]["num_samples"] == round(c["duration"] * MODEL_RATE) for c in cuts)
    assert twins == members
    assert len(rows) == 6
    assert verify_shards(root) == []
    victim = root / "train" / "shar" / "cuts.000001.jsonl"
    victim.write_text(victim.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert [Path(str(p.file)).name for p in verify_shards(root)] == [victim.name]
    assert Path(request_for(tmp_path, path).out).name != root.name


def test_a_stopped_build_with_a_channel_and_a_twin_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    class Stopping(Silent):
        rows = 0

        def stop_if_asked(self) -> None:
            self.rows += 1
            if self.rows == 7:
                raise Stopped

    path = corpus(tmp_path, count=10)
    whole, halted = (request_for(tmp_path, path, "mobile", home=home, shar=True) for home in ("whole", "halted"))
    run(whole, Silent())
    with pytest.raises(Stopped):
        run(halted, Stopping())
    staged = next((tmp_path / "halted").rglob("recording.000000.tar"))
    staged.write_bytes(staged.read_bytes()[:-1])  # a twin that was damaged meanwhile is made again with its shard
    run(halted, Silent())
    files = [{str(f.relative_to(out)): f.read_bytes() for f in Path(out).rglob("*") if f.is_file() and f.name != "index.json"}
             for out in (whole.out, halted.out)]  # fmt: skip
    assert files[0] == files[1]
    assert len(files[0]) == 3 * 4 + 1  # tar, rows, cuts and recordings of three shards, and the digests


def test_the_tool_takes_the_channel_into_its_job(ws: Workspace) -> None:
    train, replay = corpus(ws.base_folder, count=3), corpus(ws.base_folder, "keep", 2, target_lang="en-US")
    call = {"train": [str(train)], "replay": [str(replay)], "channel": ["noise:20,alaw"], "shar": True,
            "noise": str(wav(ws.base_folder / "noise" / "a.wav", noise(0.5)).parent)}  # fmt: skip
    view = get_job(ws, registry.call("build_shards", call, ws).data.job_id)
    while view.state not in ENDED:
        view = get_job(ws, view.job_id, 45, wake_on_event=False)
    assert (view.state, view.error) == ("succeeded", None)
    assert view.result is not None
    assert [s["channels"] for s in view.result["sources"]] == [["noise:20,alaw"], []]
    rows, _ = packed(Path(view.result["root"]))
    assert {(r["id"].split("-")[0], r.get(DRAWN_FIELD)) for r in rows} == {("train", "noise:20,alaw"), ("keep", None)}


def test_a_build_with_a_noise_folder_that_no_chain_takes_is_refused_and_so_is_a_channel_for_no_replay(ws: Workspace) -> None:
    path, noises = str(corpus(ws.base_folder, count=1)), str(wav(ws.base_folder / "n" / "a.wav").parent)
    for extra, code in (({"channel": ["gsm"], "noise": noises}, "noise_unused"), ({"noise": noises}, "noise_unused"),
                        ({"replay_channel": ["gsm"]}, "replay_channel_unused"), ({"channel": ["fax"]}, "channel_invalid")):  # fmt: skip
        with pytest.raises(AsrtuneError) as caught:
            registry.call("build_shards", {"train": [path], **extra}, ws)
        assert caught.value.code == code
    assert not (ws.home / "jobs").exists()


# --- eval sets --------------------------------------------------------------------------------------------------------------------------


def test_a_telephone_slice_has_the_same_rows_and_leaves_the_original_alone(ws: Workspace) -> None:
    path = corpus(ws.base_folder, "test", 4)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row("0.wav", id="marked", _skipme="noise:ear", text="")) + "\n")
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    answer = registry.call("apply_channel", {"manifest": str(path), "channel": ["telephone"], "seed": 3}, ws)
    report = answer.data
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before
    assert (report.rows, report.rows_marked, report.rows_by_chain) == (5, 1, {"telephone": 4})
    assert report.chains == {"telephone": PRESETS["telephone"]}
    rows = [json.loads(line) for line in Path(report.manifest).read_text(encoding="utf-8").splitlines()]
    assert [r["id"] for r in rows] == [*(f"test-{n}" for n in range(4)), "marked"]
    line = channel("telephone", seed=3)
    for n, made in enumerate(rows[:4]):
        original = decode(path.parent / f"{n}.wav")
        samples = decode(Path(report.manifest).parent / made["audio_filepath"])
        np.testing.assert_allclose(samples, line.play(original, line.draw(named(f"test-{n}"))), atol=1 / 32768)
        assert made["source_audio"] == str(path.parent / f"{n}.wav")
        assert (made[CHANNEL_FIELD], made["sampling_rate"]) == ("telephone", MODEL_RATE)
    assert rows[4]["_skipme"] == "noise:ear"
    assert CHANNEL_FIELD not in rows[4]
    again = registry.call("apply_channel", {"manifest": str(path), "channel": ["telephone"], "seed": 3}, ws)
    assert again.data == report
    assert [p.name for p in (ws.home / "datasets").iterdir()] == [report.dataset_id]


def test_a_slice_and_its_original_are_known_to_be_the_same_recordings(ws: Workspace) -> None:
    """However little is said: one word is no telling sentence, and without digests only the path tells."""
    wav(ws.base_folder / "a.wav")
    path = manifest(ws.base_folder / "m.jsonl", [row(text="Ναι.")])
    report = registry.call("apply_channel", {"manifest": str(path)}, ws).data
    assert [o.kind for o in compare_sets(path, Path(report.manifest)).blocking()] == ["recording"]


def test_one_bad_row_fails_the_slice_with_its_line_and_leaves_nothing(ws: Workspace) -> None:
    path = corpus(ws.base_folder, "test", 3)
    (path.parent / "1.wav").write_bytes(b"no audio")
    (path.parent / "2.wav").unlink()
    with pytest.raises(NotReadyError) as caught:
        registry.call("apply_channel", {"manifest": str(path)}, ws)
    assert caught.value.code == "channel_bad_rows"
    assert [(p.code, p.line) for p in caught.value.problems] == [("audio_unreadable", 2), ("audio_missing", 3)]
    assert list((ws.home / "datasets").iterdir()) == []


def test_audio_outside_the_roots_and_sets_of_many_hours_are_refused(ws: Workspace, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = wav(tmp_path_factory.mktemp("elsewhere") / "a.wav")
    path = manifest(ws.base_folder / "m.jsonl", [row(str(outside))])
    with pytest.raises(NotReadyError) as caught:
        registry.call("apply_channel", {"manifest": str(path)}, ws)
    assert [(p.code, p.line) for p in caught.value.problems] == [("audio_refused", 1)]
    wav(ws.base_folder / "a.wav")
    long = manifest(ws.base_folder / "long.jsonl", [row(duration=4000.0), row(duration=8000.0)])
    with pytest.raises(UsageError, match="set_too_long"):
        registry.call("apply_channel", {"manifest": str(long)}, ws)
