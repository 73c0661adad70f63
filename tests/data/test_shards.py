"""build_shards: what goes in comes out once, the same bytes every time, and no fault leaves half of anything behind."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import psutil
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from asrcore import io
from asrcore.audio import decode
from asrcore.data import shard_files
from asrcore.data.channel import parse_chains
from asrcore.data.shard_member import member_name
from asrcore.data.shard_request import check_manifests, make_request
from asrcore.data.shards import loader_weights, run, verify_shards
from asrcore.data_requests import ChannelPlan
from asrcore.errors import AsrtuneError, EnvironmentFault, NotReadyError, Stopped
from asrcore.requests import ShardsRequest, ShardsResult
from tests.data.speech import GREEK, corpus, manifest, noise, row, wav


class Reporter:
    """Counts rows, keeps events, and stops before row `stop_at`."""

    def __init__(self, stop_at: int = 10**9) -> None:
        self.rows = 0
        self.stop_at = stop_at
        self.events: list[tuple[int, int]] = []

    def event(self, stage: str, step: int = 0, total: int = 0, message: str = "", **metrics: float) -> None:
        self.events.append((step, total))

    def stop_if_asked(self) -> None:
        self.rows += 1
        self.asked(self.rows >= self.stop_at)

    def asked(self, stop: bool) -> None:
        if stop:
            raise Stopped


def request_for(tmp_path: Path, *train: Path, replay: tuple[Path, ...] = (), share: float = 0.2, per_shard: int = 4, seed: int = 0,
                home: str = "shards") -> ShardsRequest:  # fmt: skip
    facts = check_manifests(train, replay, [tmp_path])
    return make_request(facts, share, utterances_per_shard=per_shard, seed=seed, folder=tmp_path / home)


def rows_of(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(root.rglob("manifest_*.json")) for line in path.read_text(encoding="utf-8").splitlines()]


def members_of(root: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(root.rglob("*.tar")):
        with tarfile.open(path) as archive:
            for info in archive:
                file = archive.extractfile(info)
                assert file is not None
                found[info.name] = file.read()
    return found


def bytes_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != "index.json"}


def test_every_row_is_packed_once_with_its_real_duration_in_evenly_cut_shards(tmp_path: Path) -> None:
    request = request_for(tmp_path, corpus(tmp_path, count=10), replay=(corpus(tmp_path, "replay", 3),))
    reporter = Reporter()
    result = run(request, reporter)
    root = Path(request.out)
    assert [[s.utterances for s in source.shards] for source in result.sources] == [[4, 4, 2], [3]]
    assert sorted(r["id"] for r in rows_of(root)) == sorted([f"train-{n}" for n in range(10)] + [f"replay-{n}" for n in range(3)])
    members = members_of(root)
    assert sorted(members) == sorted(r["audio_filepath"] for r in rows_of(root))
    for made in rows_of(root):
        assert len(decode_bytes(members[made["audio_filepath"]])) == round(made["duration"] * 16_000)
        assert (made["lang"], made["sampling_rate"]) == ("el-GR", 16_000)
    assert reporter.events == [(0, 13), (4, 13), (8, 13), (10, 13), (13, 13)]
    assert ShardsResult.model_validate_json((root / "index.json").read_bytes()) == result
    assert result.sources[0].seconds == pytest.approx(sum(2 + n / 10 for n in range(10)), abs=0.01)
    assert result.sources[0].seconds_by_locale == {"el-GR": result.sources[0].seconds}
    assert verify_shards(root) == []


def decode_bytes(data: bytes) -> Any:
    samples, rate = sf.read(BytesIO(data), dtype="float32")
    assert rate == 16_000
    return samples


COPIES = """
import sys
from pathlib import Path
from asrcore.data.shards import run
from asrcore.requests import ShardsRequest

class Silent:
    def event(self, *args, **metrics): ...
    def stop_if_asked(self): ...

request = ShardsRequest.model_validate_json(Path(sys.argv[1]).read_bytes())
before = {"numpy", "soundfile", "soxr", "asrcore.jobs"} & set(sys.modules)
run(request, Silent())
print(sorted(before), "numpy" in sys.modules)
"""


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_wav_files_are_copied_before_a_numeric_library_is_loaded(tmp_path: Path, form: str) -> None:
    wav(tmp_path / f"a.{form}", noise(2.0), subtype="PCM_16")
    request = request_for(tmp_path, manifest(tmp_path / "manifest.json", [row(f"a.{form}", duration=2.0)]))
    io.write_json(tmp_path / "request.json", request)
    done = subprocess.run([sys.executable, "-c", COPIES, str(tmp_path / "request.json")], cwd=Path(shard_files.__file__).parents[2],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.split() == ["[]", str(form == "flac")]
    assert list(members_of(Path(request.out)).values()) == [(tmp_path / f"a.{form}").read_bytes()]


def test_rows_and_members_of_a_shard_stand_in_the_same_order_and_carry_its_number(tmp_path: Path) -> None:
    root = Path(run(request_for(tmp_path, corpus(tmp_path, count=6)), Reporter()).root)
    for number in (0, 1):
        with tarfile.open(root / "train" / f"audio_{number}.tar") as archive:
            rows = [json.loads(line) for line in (root / "train" / f"manifest_{number}.json").read_text(encoding="utf-8").splitlines()]
            assert archive.getnames() == [r["audio_filepath"] for r in rows]
            assert {r["shard_id"] for r in rows} == {number}


def test_the_order_is_mixed_and_the_seed_decides_it(tmp_path: Path) -> None:
    path = corpus(tmp_path, count=12)
    orders = {seed: [r["id"] for r in rows_of(Path(run(request_for(tmp_path, path, seed=seed), Reporter()).root))] for seed in (0, 1)}
    in_order = [f"train-{n}" for n in range(12)]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(in_order)
    assert in_order != orders[0] != orders[1] != in_order


def test_the_same_input_gives_the_same_id_and_the_same_bytes(tmp_path: Path) -> None:
    path = corpus(tmp_path, count=6)
    wav(path.parent / "0.wav", noise(2.0, 8000), 8000, subtype="GSM610")
    first, second = request_for(tmp_path, path), request_for(tmp_path, path, home="again")
    run(first, Reporter())
    run(second, Reporter())
    assert Path(first.out).name == Path(second.out).name
    assert bytes_of(Path(first.out)) == bytes_of(Path(second.out))
    assert {Path(request_for(tmp_path, path, **change).out).name for change in ({"seed": 1}, {"per_shard": 5})}.isdisjoint(
        {Path(first.out).name}
    )


def test_replaced_audio_of_another_size_gives_another_id(tmp_path: Path) -> None:
    path = corpus(tmp_path, count=2)
    before = request_for(tmp_path, path).out
    wav(path.parent / "0.wav", noise(2.01))
    assert request_for(tmp_path, path).out != before


def test_16_khz_mono_wav_and_flac_are_copied_and_all_else_becomes_such_flac(tmp_path: Path) -> None:
    forms: dict[str, tuple[int, dict[str, str]]] = {
        "a.wav": (16_000, {}), "b.flac": (16_000, {}), "c.ogg": (16_000, {"format": "OGG", "subtype": "OPUS"}), "d.wav": (8_000, {"subtype": "GSM610"}),
        "e.flac": (48_000, {}),
    }  # fmt: skip
    for name, (rate, form) in forms.items():
        wav(tmp_path / "in" / name, noise(2.0, rate, top=3000), rate, **form)
    wav(tmp_path / "in" / "f.wav", np.stack([noise()] * 2, axis=1))
    path = manifest(tmp_path / "in" / "manifest.json", [row(name, id=name[0]) for name in [*forms, "f.wav"]])
    root = Path(run(request_for(tmp_path, path), Reporter()).root)
    packed = {r["id"]: (members_of(root)[r["audio_filepath"]], r["audio_filepath"]) for r in rows_of(root)}
    for name in [*forms, "f.wav"]:
        data, member = packed[name[0]]
        original = tmp_path / "in" / name
        if name in ("a.wav", "b.flac"):
            assert data == original.read_bytes()
        else:
            assert member.endswith(".flac")
            np.testing.assert_allclose(decode_bytes(data), decode(original), atol=1 / 32768)


def test_a_piece_of_a_recording_is_cut_out_and_needs_no_offset_any_more(tmp_path: Path) -> None:
    wav(tmp_path / "long.wav", noise(5.0))
    path = manifest(tmp_path / "m.json", [row("long.wav", offset=1.5, duration=2.0, id="piece"), row("long.wav", duration=1.0, id="head")])
    root = Path(run(request_for(tmp_path, path), Reporter()).root)
    whole = decode(tmp_path / "long.wav")
    for made in rows_of(root):
        start, end = {"piece": (24_000, 56_000), "head": (0, 16_000)}[made["id"]]
        assert "offset" not in made
        np.testing.assert_array_equal(decode_bytes(members_of(root)[made["audio_filepath"]]), whole[start:end])


def test_extras_of_a_row_reach_the_shard_and_skipped_rows_are_counted(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    path = manifest(tmp_path / "m.json", [row(channel="phone"), row("none.wav", _skipme="noise"), row(text="", _skipme=True)])
    result = run(request_for(tmp_path, path), Reporter())
    assert result.skipped == {"_skipme": 2}
    assert [r["channel"] for r in rows_of(Path(result.root))] == ["phone"]


def test_rows_with_bad_audio_fail_the_job_with_every_line_and_leave_nothing(tmp_path: Path) -> None:
    path = corpus(tmp_path, count=12)
    request = request_for(tmp_path, path)
    (path.parent / "2.wav").unlink()
    (path.parent / "5.wav").write_bytes(b"no audio")
    (path.parent / "11.wav").write_bytes(b"")
    wav(path.parent / "7.wav", noise(1.0))
    with pytest.raises(NotReadyError) as caught:
        run(request, Reporter())
    assert caught.value.code == "shards_bad_rows"
    assert sorted((p.code, p.line or 0) for p in caught.value.problems) == [
        ("audio_empty", 12), ("audio_missing", 3), ("audio_unreadable", 6), ("duration_too_long", 8)
    ]  # fmt: skip
    assert {p.file for p in caught.value.problems} == {str(path)}
    assert list((tmp_path / "shards").iterdir()) == []


def test_a_stopped_build_keeps_finished_shards_and_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    path = corpus(tmp_path, count=10)
    request, whole = request_for(tmp_path, path), request_for(tmp_path, path, home="whole")
    run(whole, Reporter())
    with pytest.raises(Stopped):
        run(request, Reporter(stop_at=7))
    assert not Path(request.out).exists()
    (kept,) = (tmp_path / "shards").rglob("*.tar")
    inode = kept.stat().st_ino
    second = Reporter()
    result = run(request, second)
    assert second.rows < 10
    assert (Path(result.root) / "train" / kept.name).stat().st_ino == inode
    assert bytes_of(Path(request.out)) == bytes_of(Path(whole.out))
    assert [p.name for p in (tmp_path / "shards").iterdir()] == [Path(request.out).name]


def test_several_processes_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    path, replay = corpus(tmp_path, count=9), corpus(tmp_path, "keep", 3, target_lang="en-US")
    wav(path.parent / "0.wav", noise(2.0, 8000), 8000, subtype="GSM610")
    facts, heard = check_manifests([path], [replay], [tmp_path]), {"replay": ChannelPlan(chains=parse_chains(["ulaw"]))}
    one, two = (make_request(facts, 0.2, utterances_per_shard=2, seed=0, folder=tmp_path / home, channels=heard) for home in ("one", "two"))
    reporter = Reporter()
    first, second = run(one, Reporter(), workers=1), run(two, reporter, workers=2)
    assert second == first.model_copy(update={"root": second.root})
    assert bytes_of(Path(one.out)) == bytes_of(Path(two.out))
    assert reporter.events == [(0, 12), (2, 12), (4, 12), (6, 12), (8, 12), (9, 12), (11, 12), (12, 12)]


def test_bad_rows_are_all_found_by_several_processes_and_nothing_is_left(tmp_path: Path) -> None:
    path = corpus(tmp_path, count=8)
    request = request_for(tmp_path, path, per_shard=2)
    for n in (1, 4, 6):
        (path.parent / f"{n}.wav").write_bytes(b"no audio")
    with pytest.raises(NotReadyError, match="shards_bad_rows") as caught:
        run(request, Reporter(), workers=2)
    assert sorted(p.line or 0 for p in caught.value.problems) == [2, 5, 7]
    assert list((tmp_path / "shards").iterdir()) == []


def test_a_stop_ends_the_workers_and_what_they_finished_is_kept(tmp_path: Path) -> None:
    path = corpus(tmp_path, count=9)
    request, whole = request_for(tmp_path, path, per_shard=1), request_for(tmp_path, path, per_shard=1, home="whole")
    run(whole, Reporter())
    reporter = Reporter()
    reporter.stop_if_asked = lambda: reporter.asked(any(step for step, _ in reporter.events))
    with pytest.raises(Stopped):
        run(request, reporter, workers=2)
    assert not Path(request.out).exists()
    assert multiprocessing.active_children() == []
    assert len(list((tmp_path / "shards").rglob("record_*.json"))) >= 1
    run(request, Reporter(), workers=1)
    assert bytes_of(Path(request.out)) == bytes_of(Path(whole.out))


BLOCKED = """
import sys
from pathlib import Path
from asrcore.data.shards import run
from asrcore.requests import ShardsRequest

class Blocks:
    def event(self, stage, step=0, total=0, message="", **metrics):
        if step:
            print("working", flush=True)
            sys.stdin.read()

    def stop_if_asked(self): ...

run(ShardsRequest.model_validate_json(Path(sys.argv[1]).read_bytes()), Blocks(), workers=2)
"""


def test_the_workers_end_with_a_process_that_is_killed_and_the_next_one_completes(tmp_path: Path) -> None:
    path = corpus(tmp_path, count=6)
    request, whole = request_for(tmp_path, path, per_shard=1), request_for(tmp_path, path, per_shard=1, home="whole")
    run(whole, Reporter())
    io.write_json(tmp_path / "request.json", request)
    root = Path(shard_files.__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", BLOCKED, str(tmp_path / "request.json")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env=os.environ | {"PYTHONPATH": str(root)}) as parent:  # fmt: skip
        assert parent.stdout is not None
        assert parent.stdout.readline() == "working\n"
        workers = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    assert len(workers) >= 2
    _, left = psutil.wait_procs(workers, timeout=120)
    assert [worker for worker in left if worker.status() != psutil.STATUS_ZOMBIE] == []
    run(request, Reporter(), workers=1)
    assert bytes_of(Path(request.out)) == bytes_of(Path(whole.out))


@pytest.mark.parametrize("damage", ["audio_0.tar", "manifest_0.json", "record_0.json"])
def test_a_staged_shard_that_was_damaged_is_written_again(tmp_path: Path, damage: str) -> None:
    path = corpus(tmp_path, count=6)
    request, whole = request_for(tmp_path, path), request_for(tmp_path, path, home="whole")
    run(whole, Reporter())
    with pytest.raises(Stopped):
        run(request, Reporter(stop_at=6))
    (victim,) = (tmp_path / "shards").rglob(damage)
    victim.write_bytes(victim.read_bytes()[:-20] + b"x")
    (victim.parent / ".audio_1.tar.1.abcdef.part").write_bytes(b"left by a killed process")
    run(request, Reporter())
    assert bytes_of(Path(request.out)) == bytes_of(Path(whole.out))


def test_a_full_disk_is_a_coded_error_that_leaves_whole_shards_only_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(tmp_path, corpus(tmp_path, count=10))
    real, opened = io.atomic_file, list[Path]()

    @contextmanager
    def full_after_the_first_shard(path: Path) -> Generator[BinaryIO]:
        with real(path) as file:
            opened.append(path)
            if path.name == "audio_1.tar":
                file.write(b"half")
                raise OSError(errno.ENOSPC, "No space left on device")
            yield file

    monkeypatch.setattr(shard_files.io, "atomic_file", full_after_the_first_shard)
    with pytest.raises(EnvironmentFault) as caught:
        run(request, Reporter())
    assert (caught.value.code, caught.value.retryable, len(opened)) == ("disk_full", True, 4)
    assert not Path(request.out).exists()
    assert sorted(p.name for p in (tmp_path / "shards").rglob("*") if p.is_file()) == ["audio_0.tar", "manifest_0.json", "record_0.json"]
    monkeypatch.setattr(shard_files.io, "atomic_file", real)
    assert verify_shards(Path(run(request, Reporter()).root)) == []


def test_too_little_space_is_found_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = request_for(tmp_path, corpus(tmp_path, count=2))
    monkeypatch.setattr(io.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 100_000))
    with pytest.raises(EnvironmentFault, match="disk_full"):
        run(request, Reporter())
    assert not (tmp_path / "shards").exists()


def test_a_manifest_that_changed_after_the_request_is_refused(tmp_path: Path) -> None:
    path = corpus(tmp_path, count=2)
    request = request_for(tmp_path, path)
    path.write_text(path.read_text(encoding="utf-8") + json.dumps(row("0.wav")) + "\n", encoding="utf-8")
    with pytest.raises(NotReadyError, match="fingerprint_mismatch"):
        run(request, Reporter())


def test_shards_that_stand_are_returned_as_they_are_and_damaged_ones_refused(tmp_path: Path) -> None:
    request = request_for(tmp_path, corpus(tmp_path, count=6))
    first, again = run(request, Reporter()), Reporter()
    assert run(request, again) == first
    assert again.rows == 0
    root = Path(first.root)
    listing = root / "train" / "manifest_1.json"
    listing.write_text(listing.read_text(encoding="utf-8").replace("τώρα", "χθες"), encoding="utf-8")
    (root / "train" / "audio_0.tar").unlink()
    assert [Path(str(p.file)).name for p in verify_shards(root)] == ["audio_0.tar", "manifest_1.json"]
    with pytest.raises(AsrtuneError, match="shards_damaged"):
        run(request, Reporter())
    (root / "index.json").unlink()
    assert [p.code for p in verify_shards(root)] == ["shard_damaged"]


def test_the_loader_draws_utterances_so_long_ones_get_less_weight() -> None:
    weights = loader_weights([(0.5, 2.0), (0.5, 8.0)])
    assert weights == pytest.approx([0.8, 0.2])
    seconds = [w * mean for w, mean in zip(weights, (2.0, 8.0), strict=True)]
    assert seconds[0] / sum(seconds) == pytest.approx(0.5)


@given(st.integers(1, 10**9), st.one_of(st.none(), st.text(max_size=80), st.just("call-sub1-x"), st.just("../../etc/passwd")))
def test_member_names_are_safe_short_and_never_look_like_a_piece_of_a_file(line: int, identity: str | None) -> None:
    """Facts, upstream 8.3: NeMo takes `name-sub3.wav` for a piece of `name.wav` and pairs it wrongly."""
    name = member_name("s" * 64, line, identity)
    assert re.fullmatch(r"[A-Za-z0-9_]{1,90}", name)
    assert f"_{line:08d}" in name


def test_rows_without_ids_and_with_ids_that_look_alike_keep_names_of_their_own(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    path = manifest(
        tmp_path / "m.json", [row(), row(offset=0.1, duration=1.9), row(id="call-sub1"), row(id="call_sub1"), row(text=GREEK, id="ένα")]
    )
    members = members_of(Path(run(request_for(tmp_path, path), Reporter()).root))
    assert len(members) == 5
    assert not any("-" in name for name in members)
