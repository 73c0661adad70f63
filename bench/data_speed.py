"""What `bench_data.py` measures against the tools that people use instead: the same files, one run, outputs checked equal before a ratio counts.

scan    header scan with the errors of broken files, one process, against `soundfile.info`
full    `inspect` of a manifest of FLAC, from the start of its process to its end
pack    16 kHz WAV into shards, CPU time of all processes with their imports, against the standard library's tarfile, `lhotse shar export -a original` and,
        where its script is given, NeMo's convert_to_tarred_audio_dataset.py. FLAC as well, without a bar: we decode every FLAC that we copy, they do not

The recordings are made here: noise in the shape of speech, 6 s each, no two alike (synthetic).
"""

from __future__ import annotations

import ctypes
import gzip
import hashlib
import json
import os
import resource
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile as sf

SECONDS, RATE = 6.0, 16_000
SCAN_BARS = {"wav": 5.0, "flac": 12.0}
FULL_BAR, TAR_BAR, LHOTSE_BAR, NEMO_BAR = 2_000.0, 2.0, 2.0, 3.0
PER_SHARD = 500
OUT = "@OUT"
"""Stands for the folder to write to."""
_BASES, _BROKEN_SHARE = 24, 0.01
_PR_SET_CHILD_SUBREAPER = 36

ROOT = Path(__file__).resolve().parents[1]
OURS_PACK = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from asrcore.data.shard_request import check_manifests, make_request
from asrcore.data.shards import run

class Silent:
    def event(self, stage, step=0, total=0, message="", **metrics): ...
    def stop_if_asked(self): ...

manifest, out = Path(sys.argv[1]), Path(sys.argv[2])
run(make_request(check_manifests([manifest], [], [manifest.parent.resolve()]), 0.1, utterances_per_shard={PER_SHARD}, seed=0, folder=out), Silent())
"""
OURS_FULL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from asrcore.checkpoint import resolve_base
from asrcore.data.inspect import inspect
from asrcore.workspace import Workspace

manifest = Path(sys.argv[1])
report = inspect(manifest, resolve_base(Workspace.open(manifest.parent), "embedded"), "embedded")
print(report.model_dump_json())
"""
TARFILE = f"""
import json, os, sys, tarfile
folder, out = os.path.dirname(sys.argv[1]), sys.argv[2]
os.makedirs(out)
rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
for start in range(0, len(rows), {PER_SHARD}):
    with tarfile.open(f"{{out}}/audio_{{start // {PER_SHARD}}}.tar", "w") as archive:
        for row in rows[start : start + {PER_SHARD}]:
            archive.add(os.path.join(folder, row["audio_filepath"]), row["audio_filepath"])
"""
TARFILE_CHECKED = TARFILE.replace("import json, os, sys, tarfile", "import hashlib, json, os, sys, tarfile") + """
    with open(archive.name, "rb") as made, open(archive.name + ".sha256", "w") as said:
        said.write(hashlib.file_digest(made, "sha256").hexdigest())
        os.fsync(made.fileno())
"""
"""What a shard is besides its copies: a digest of what was written, and on the disk before it is called done."""
Header = tuple[int, int, int, str]


class Figure(NamedTuple):
    """One measured value and its bar: the most it may be, or the least; None where it only informs."""

    name: str
    value: float
    unit: str
    bar: float | None
    at_least: bool = False

    @property
    def held(self) -> bool:
        return self.bar is None or (self.value >= self.bar if self.at_least else self.value <= self.bar)

    def line(self) -> str:
        mark = "info" if self.bar is None else "ok  " if self.held else "MISS"
        bar = "" if self.bar is None else f"({'at least' if self.at_least else 'at most'} {self.bar:g})"
        return f"{mark} {self.name:<100} {self.value:9.2f} {self.unit:<3} {bar}".rstrip()


class Cost(NamedTuple):
    wall: float
    cpu: float
    output: str


# --- what is measured ---------------------------------------------------------------------------------------------------------------------


def scan(folder: Path, hours: float, repeats: int) -> list[Figure]:
    from asrcore.audio import probe
    from asrcore.errors import NotReadyError

    def ours(paths: Sequence[Path]) -> list[Header | None]:
        found: list[Header | None] = []
        for path in paths:
            try:
                info = probe(path)
                found.append((info.rate, info.channels, info.frames, info.format))
            except NotReadyError:
                found.append(None)
        return found

    def theirs(paths: Sequence[Path]) -> list[Header | None]:
        found: list[Header | None] = []
        for path in paths:
            try:
                info = sf.info(path)
                found.append((info.samplerate, info.channels, info.frames, f"{info.format}/{info.subtype}"))
            except sf.LibsndfileError:
                found.append(None)
        return found

    figures: list[Figure] = []
    for form, bar in SCAN_BARS.items():
        files = recordings(folder / form, form, hours)
        paths = [*files, *broken(folder / f"{form}_broken", files)]
        mine, other = ours(paths), theirs(paths)
        # A file without samples is an error here; soundfile says that it has 0 frames.
        require(mine == [None if one is None or one[2] == 0 else one for one in other], f"the scan of {form} is not what soundfile says")
        require(mine.count(None) == len(paths) - len(files), "the broken files were taken for good ones")
        best = [min(cpu_of(function, paths) for _ in range(repeats)) for function in (ours, theirs)]
        name = f"header scan of {len(paths):,} {form} files, {len(paths) / best[0]:,.0f} a second; soundfile.info takes as many times as long"
        figures.append(Figure(name, best[1] / best[0], "x", bar, at_least=True))
    return figures


def full(folder: Path, hours: float) -> list[Figure]:
    files = recordings(folder / "flac", "flac", hours)
    cost = measured([sys.executable, "-c", OURS_FULL, str(manifest_of(folder / "flac", files))])
    report = json.loads(cost.output.splitlines()[-1])
    found = {finding["code"]: finding["count"] for finding in report["findings"] if finding["code"].startswith(("text_conflict", "audio_"))}
    require(report["rows_inspected"] == len(files), "inspect did not see every row")
    require(found == {"text_conflict": 1}, f"inspect found {found}, planted was one copy of a recording with another text")
    name = f"full inspect of {report['hours']:.2f} h of 16 kHz FLAC in {cost.wall:.1f} s ({cost.cpu:.1f} CPU-s), {len(os.sched_getaffinity(0))} cores: times real time"
    return [Figure(name, len(files) * SECONDS / cost.wall, "x", FULL_BAR, at_least=True)]


def pack(folder: Path, hours: float, repeats: int, nemo_script: Path | None) -> list[Figure]:
    figures: list[Figure] = []
    for form in ("wav", "flac"):
        files = recordings(folder / form, form, hours)
        manifest = manifest_of(folder / form, files)
        commands = {
            "asrtune": [sys.executable, "-c", OURS_PACK, str(manifest), OUT],
            "tarfile": [sys.executable, "-c", TARFILE, str(manifest), OUT],
        }
        if form == "wav":
            lhotse = str(Path(sys.executable).with_name("lhotse"))
            commands["tarfile with sha256 and sync"] = [sys.executable, "-c", TARFILE_CHECKED, str(manifest), OUT]
            commands["lhotse shar export"] = [lhotse, "shar", "export", "-a", "original", "-s", str(PER_SHARD), "-j", "1", str(cuts_of(folder / form, files)), OUT]
            if nemo_script is not None:
                commands["NeMo's script"] = [
                    sys.executable, str(nemo_script), f"--manifest_path={manifest}", f"--target_dir={OUT}", f"--num_shards={shards_of(len(files))}",
                    "--max_duration=40", "--min_duration=0.1", "--shuffle", "--shuffle_seed=1", "--workers=1",
                ]  # fmt: skip
        wanted = Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
        # In turns that begin with another each time: what else the machine does, and memory that a neighbour has just given back, fall on all of them.
        names, costs = list(commands), dict.fromkeys(commands, float("inf"))
        for turn in range(repeats):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                costs[name] = min(costs[name], packed(name, commands[name], folder / "out", wanted))
        mine = costs.pop("asrtune")
        for name, cost in costs.items():
            title = f"{len(files):,} {form} files into shards, {mine:.2f} CPU-s; {name}, {cost:.2f} CPU-s"
            if name.startswith("tarfile"):
                figures.append(Figure(f"{title}: ours over theirs", mine / cost, "x", TAR_BAR if form == "wav" else None))
            else:
                figures.append(Figure(f"{title}: theirs over ours", cost / mine, "x", LHOTSE_BAR if name.startswith("lhotse") else NEMO_BAR, at_least=True))
    return figures


def packed(name: str, command: list[str], out: Path, wanted: Counter[str]) -> float:
    """CPU seconds of all processes, once the tars are known to hold every file, byte for byte."""
    place = out / name.replace(" ", "_")
    place.parent.mkdir(parents=True, exist_ok=True)
    cost = measured([part.replace(OUT, str(place)) for part in command]).cpu
    found: Counter[str] = Counter()
    for tar in place.rglob("*.tar"):
        with tarfile.open(tar) as archive:
            for info in archive:
                member = archive.extractfile(info)
                if member is not None and not info.name.endswith(".json"):
                    found[hashlib.sha256(member.read()).hexdigest()] += 1
    require(found == wanted, f"{name} packed {sum((found & wanted).values())} of {sum(wanted.values())} files as they are, so its time does not count")
    subprocess.run(["rm", "-r", str(place)], check=True)  # noqa: S607
    return cost


# --- files ------------------------------------------------------------------------------------------------------------------------------


def recordings(folder: Path, form: str, hours: float) -> list[Path]:
    """16-bit recordings, made once; the last is a copy of the first. A multiple of 10, so that equal shards hold them all."""
    count = max(10, round(hours * 360 / SECONDS) * 10)
    paths = [folder / f"{number:06d}.{form}" for number in range(count)]
    if folder.exists():
        return paths
    folder.mkdir(parents=True)
    bases = [speech_like(number) for number in range(_BASES)]
    for place, path in enumerate(paths):
        number = place % (count - 1)
        samples = np.roll(bases[number % _BASES], 37 * number) * np.float32(0.6 + 0.4 * (number * 0.618 % 1))
        sf.write(path, samples, RATE, subtype="PCM_16")
    return paths


def speech_like(seed: int) -> Any:
    """Noise with the slope and the formants of a voice, in syllables and pauses, over a quiet floor."""
    count = round(SECONDS * RATE)
    rng, hertz, time_s = np.random.default_rng(seed), np.fft.rfftfreq(count, 1 / RATE), np.arange(count) / RATE
    shape = sum(np.exp(-(((hertz - center) / width) ** 2)) * gain for center, width, gain in ((500, 200, 1.0), (1500, 300, 0.3), (2500, 400, 0.15), (5500, 1500, 0.05)))
    voice = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * shape, count)
    voice *= np.abs(np.sin(2 * np.pi * 2 * time_s)) * (np.sin(2 * np.pi * 0.4 * time_s + seed) > -0.6)
    return (0.3 * voice / np.abs(voice).max() + 0.0005 * rng.standard_normal(count)).astype(np.float32)


def broken(folder: Path, files: Sequence[Path]) -> list[Path]:
    """One for a hundred good ones, as many of each kind: no bytes, text, a header without samples, a header cut in the middle."""
    folder.mkdir(exist_ok=True)
    start = files[0].read_bytes()
    kinds = [b"", b"this is no audio at all, only text", start[:30], start[:20]]
    paths = [folder / f"{number:03d}{files[0].suffix}" for number in range(max(len(kinds), round(len(files) * _BROKEN_SHARE)))]
    for number, path in enumerate(paths):
        path.write_bytes(kinds[number % len(kinds)])
    return paths


def manifest_of(folder: Path, files: Sequence[Path]) -> Path:
    path = folder / "manifest.json"
    with open(path, "w", encoding="utf-8") as file:
        for number, audio in enumerate(files):
            row = {"audio_filepath": audio.name, "offset": 0.0, "duration": SECONDS, "text": f"This is utterance {words(number)}.", "target_lang": "en-US",
                   "speaker": f"s{number % 100}", "id": f"u{number}"}  # fmt: skip
            file.write(json.dumps(row) + "\n")
    return path


def words(number: int) -> str:
    names = "zero one two three four five six seven eight nine".split()
    return " ".join(names[int(digit)] for digit in str(number))


def cuts_of(folder: Path, files: Sequence[Path]) -> Path:
    path = folder / "cuts.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for number, audio in enumerate(files):
            recording = {"id": f"r{number}", "sources": [{"type": "file", "channels": [0], "source": str(audio)}], "sampling_rate": RATE,
                         "num_samples": round(SECONDS * RATE), "duration": SECONDS, "channel_ids": [0]}  # fmt: skip
            cut: dict[str, Any] = {"id": f"c{number}", "start": 0.0, "duration": SECONDS, "channel": 0, "supervisions": [], "recording": recording, "type": "MonoCut"}
            file.write(json.dumps(cut) + "\n")
    return path


def shards_of(count: int) -> int:
    """Shards of equal size near ours: NeMo's script drops what is left over."""
    return next(number for number in range(max(1, count // PER_SHARD), count + 1) if count % number == 0)


# --- processes ----------------------------------------------------------------------------------------------------------------------------


def cpu_of(function: Callable[[Sequence[Path]], object], paths: Sequence[Path]) -> float:
    start = time.process_time()
    function(paths)
    return time.process_time() - start


def measured(command: list[str]) -> Cost:
    """Runs the command: its wall time, and the CPU time of it and of all its descendants, whoever of them waited for which."""
    adopt_orphans()
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
    wall = time.perf_counter() - start
    with suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    require(done.returncode == 0, f"{command[:2]} failed: {done.stderr[-800:]}")
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout)


def adopt_orphans() -> None:
    """From now on a descendant whose parent ends first becomes a child of this process (Linux, prctl(2)), which can then wait for it and see its CPU time."""
    require(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, "this system hides the CPU time of orphaned processes")


def require(held: bool, message: str) -> None:
    if not held:
        raise SystemExit(message)
