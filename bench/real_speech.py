"""Real recorded speech through the data tools: Czech dialogues of the game Fish Fillets, a Debian package, fetched here and never committed.

    python bench/real_speech.py FOLDER [--fetch] [--read-back]

`--fetch` downloads the packages fillets-ng-data and fillets-ng-data-cs with apt-get (GPL-2) and unpacks them into FOLDER without installing. Then:
texts of the game's Lua files -> a table -> import_dataset (all audio decoded) -> inspect_dataset -> split_dataset -> shards with their Shar twin -> verify.
Once more with every clip as a 16 kHz mono WAV, which shards copy: the members are the files, byte for byte. `--read-back` (minutes, loads NeMo): NeMo's
tarred reader and Lhotse's Shar reader each give back every utterance of all these shards, sample for sample. Exit code 1 when a clip is not accounted
for at any stage.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io as memory
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from asrcore import audio
from asrcore.data.shard_request import check_manifests, make_request
from asrcore.data.shards import run, verify_shards
from asrcore.manifest import kept_rows, write_manifest
from asrcore.requests import ShardsResult
from asrcore.workspace import Workspace
from asrtune import registry

PACKAGES = ("fillets-ng-data", "fillets-ng-data-cs")
_ENTRY = re.compile(r'dialogId\("(?P<id>[^"]+)"[^\n]*\)\s*\n\s*dialogStr\("(?P<text>(?:[^"\\]|\\.)*)"\)')


class Silent:
    """A reporter that nobody reads."""

    def event(self, stage: str, step: int = 0, total: int = 0, message: str = "", **metrics: float) -> None: ...

    def stop_if_asked(self) -> None: ...


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("--read-back", action="store_true")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if options.fetch:
        fetch(folder)
    ws = Workspace.open(folder)
    clips = len(list(folder.rglob("*/cs/*.ogg")))
    written = write_table(folder, folder / "fillets.csv")
    started = time.perf_counter()
    imported = registry.call("import_dataset", {"source": "fillets.csv", "target_lang": "cs-CZ", "name": "fillets", "decode": True}, ws).data
    left_out = {one.reason: one.rows for one in imported.not_imported}
    print(f"{clips} clips, {written} texts; imported {imported.rows_kept}, left out {left_out}, {imported.hours:.3f} h, {time.perf_counter() - started:.1f} s")
    started = time.perf_counter()
    inspected = registry.call("inspect_dataset", {"manifest": imported.manifest}, ws)
    found = {finding.code: finding.count for finding in inspected.data.findings}
    print(f"{inspected.summary} {found}, {time.perf_counter() - started:.1f} s")
    parts = registry.call("split_dataset", {"manifest": imported.manifest, "conflicts": "mark"}, ws).data.parts
    print("; ".join(f"{p.part} {p.rows} rows, {p.rows_marked} marked, {p.hours:.3f} h" for p in parts))
    ok = imported.rows_read == written and sum(p.rows for p in parts) == imported.rows_kept and inspected.data.rows_inspected == imported.rows_kept
    built: list[ShardsResult] = []
    for part in parts:
        made = pack(ws, Path(part.manifest))
        packed, skipped = sum(source.utterances for source in made.sources), sum(made.skipped.values())
        print(f"{part.part}: {packed} rows in verified shards, {skipped} marked")
        ok = ok and packed + skipped == part.rows and skipped == part.rows_marked
        built.append(made)
    copied = pack(ws, write_copies(folder / "wav16", Path(imported.manifest)))
    files = Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "wav16").glob("*.wav"))
    same = files == Counter(hashlib.sha256(data).hexdigest() for _, data in members(copied))
    print(f"16 kHz WAV: {sum(source.utterances for source in copied.sources)} rows in verified shards, {'every' if same else 'NOT every'} member is its file")
    ok = ok and same
    for reader in READERS if options.read_back else ():
        for made in (*built, copied):
            ok = read_back(reader, made, folder) and ok
    print("every clip is accounted for" if ok else "CLIPS ARE MISSING")
    return int(not ok)


def fetch(folder: Path) -> None:
    """Downloads and unpacks the packages; needs Debian's apt-get and a reachable mirror."""
    apt, unpack = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or unpack is None:
        raise SystemExit("--fetch needs apt-get and dpkg-deb; unpack the packages into the folder by hand")
    subprocess.run([apt, "download", *PACKAGES], cwd=folder, check=True)
    for package in sorted(folder.glob("*.deb")):
        subprocess.run([unpack, "-x", str(package), str(folder)], check=True)


def write_table(folder: Path, table: Path) -> int:
    """One row a text whose clip is in the package: audio, text, level. Lua strings use backslash escapes."""
    rows: list[tuple[str, str, str]] = []
    clips = {(clip.parent.parent.name, clip.stem): clip for clip in folder.rglob("*/cs/*.ogg")}
    for script in sorted(folder.rglob("dialogs_cs.lua")):
        level = script.parent.name
        for entry in _ENTRY.finditer(script.read_text(encoding="utf-8")):
            clip = clips.get((level, entry["id"]))
            if clip is not None:
                rows.append((str(clip.relative_to(folder)), re.sub(r"\\(.)", r"\1", entry["text"]), level))
    with open(table, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("audio", "text", "level"), *rows])
    return len(rows)


def write_copies(folder: Path, manifest: Path) -> Path:
    """Every kept clip as 16-bit WAV at 16 kHz mono, which shards take as it is, and a manifest of them."""
    folder.mkdir(exist_ok=True)
    rows = kept_rows(manifest)
    for row in rows:
        sf.write(folder / f"{row.line:05d}.wav", audio.decode(row.audio), audio.MODEL_RATE, subtype="PCM_16")
    path = folder / "wav16.jsonl"
    changes = [{"audio_filepath": f"{row.line:05d}.wav", "sampling_rate": audio.MODEL_RATE} for row in rows]
    write_manifest(path, (row.utterance.model_copy(update=change) for row, change in zip(rows, changes, strict=True)))
    return path


def pack(ws: Workspace, manifest: Path) -> ShardsResult:
    """Shards with a Shar twin, verified; of a split's part only the rows that are not marked."""
    facts = check_manifests([manifest], [], ws.data_roots)
    made = run(make_request(facts, 0.1, utterances_per_shard=100, seed=0, folder=ws.home / "shards", shar=True), Silent())
    problems = verify_shards(Path(made.root))
    if problems:
        raise SystemExit(f"{len(problems)} shard files do not verify: {problems[0].message}")
    return made


def members(made: ShardsResult) -> Iterator[tuple[str, bytes]]:
    """(id, bytes) of every utterance of the tars."""
    root = Path(made.root)
    for shard in (shard for source in made.sources for shard in source.shards):
        rows = [json.loads(line) for line in (root / shard.manifest).read_text(encoding="utf-8").splitlines()]
        with tarfile.open(root / shard.tar) as archive:
            for row, info in zip(rows, archive, strict=True):
                file = archive.extractfile(info)
                if file is None or info.name != row["audio_filepath"]:
                    raise SystemExit(f"{shard.tar} and its manifest do not go together at {info.name}")
                yield row["id"], file.read()


_READ = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
root = Path(sys.argv[1])
found = []
def heard(cut):
    pcm = np.rint(cut.load_audio()[0].astype(np.float64) * 32768).astype("<i2")
    found.append([cut.custom["id"], len(pcm), hashlib.sha256(pcm.tobytes()).hexdigest(), cut.supervisions[0].text, cut.supervisions[0].language])
for source in json.loads((root / "index.json").read_text())["sources"]:
    folder, last = root / source["name"], len(source["shards"]) - 1
"""
READERS = {
    "NeMo": _READ + """
    from nemo.collections.common.data.lhotse.cutset import read_cutset_from_config
    from omegaconf import OmegaConf
    entry = {"type": "nemo_tarred", "manifest_filepath": f"{folder}/manifest__OP_0..{last}_CL_.json",
             "tarred_audio_filepaths": f"{folder}/audio__OP_0..{last}_CL_.tar", "weight": 1.0}
    form = {"input_cfg": [entry], "lang_field": "target_lang", "shard_seed": 0, "shuffle": False, "force_finite": True}
    for cut in read_cutset_from_config(OmegaConf.create(form))[0]:
        heard(cut)
print(json.dumps(found))
""",
    "Lhotse": _READ + """
    from lhotse import CutSet
    for cut in CutSet.from_shar(in_dir=folder / "shar"):
        heard(cut)
print(json.dumps(found))
""",
}  # fmt: skip
"""Children that read all shards below a root and print [id, samples, sha256 of the 16-bit samples, text, language] of each utterance."""


def read_back(reader: str, made: ShardsResult, folder: Path) -> bool:
    """Whether the reader gives every utterance of the shards once, with its own samples, text and language."""
    wanted: list[list[Any]] = []
    for (name, data), row in zip(members(made), rows_of(made), strict=True):
        samples: Any = sf.read(memory.BytesIO(data), dtype="int16")[0]
        wanted.append([name, len(samples), hashlib.sha256(np.asarray(samples, dtype="<i2").tobytes()).hexdigest(), row["text"], row["target_lang"]])
    started = time.perf_counter()
    quiet = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", READERS[reader], made.root], capture_output=True, text=True, check=False, env=quiet, cwd=folder)
    if done.returncode != 0:
        raise SystemExit(f"{reader} cannot read {made.root}: {done.stderr[-2000:]}")
    same = sorted(json.loads(done.stdout.splitlines()[-1])) == sorted(wanted)
    print(f"{reader} reads {Path(made.root).name}: {len(wanted)} utterances, {'all equal' if same else 'NOT EQUAL'}, {time.perf_counter() - started:.1f} s")
    return same


def rows_of(made: ShardsResult) -> Iterator[dict[str, Any]]:
    for shard in (shard for source in made.sources for shard in source.shards):
        yield from (json.loads(line) for line in (Path(made.root) / shard.manifest).read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    raise SystemExit(main())
