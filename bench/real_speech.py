"""Real recorded speech through the data tools: Czech dialogues of the game Fish Fillets, a Debian package, fetched here and never committed.

    python bench/real_speech.py FOLDER [--fetch]

`--fetch` downloads the packages fillets-ng-data and fillets-ng-data-cs with apt-get (GPL-2) and unpacks them into FOLDER without installing. Then:
texts of the game's Lua files -> a table -> import_dataset (all audio decoded) -> inspect_dataset -> split_dataset -> shards -> verify. Exit code 1 when
a clip is not accounted for at any stage.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from asrcore.data.shard_request import check_manifests, make_request
from asrcore.data.shards import run, verify_shards
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
    inspected = registry.call("inspect_dataset", {"manifest": imported.manifest}, ws)
    print(inspected.summary)
    parts = registry.call("split_dataset", {"manifest": imported.manifest, "conflicts": "mark"}, ws).data.parts
    print("; ".join(f"{p.part} {p.rows} rows, {p.rows_marked} marked, {p.hours:.3f} h" for p in parts))
    ok = imported.rows_read == written and sum(p.rows for p in parts) == imported.rows_kept
    for part in parts:
        packed, skipped = pack(ws, Path(part.manifest))
        print(f"{part.part}: {packed} rows in verified shards, {skipped} marked")
        ok = ok and packed + skipped == part.rows and skipped == part.rows_marked
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


def pack(ws: Workspace, manifest: Path) -> tuple[int, int]:
    """Rows in shards that verify, and rows left out for their mark."""
    request: Any = make_request(check_manifests([manifest], [], ws.data_roots), 0.1, utterances_per_shard=100, seed=0, folder=ws.home / "shards")
    made = run(request, Silent())
    problems = verify_shards(Path(made.root))
    if problems:
        raise SystemExit(f"{len(problems)} shard files do not verify: {problems[0].message}")
    return sum(source.utterances for source in made.sources), sum(made.skipped.values())


if __name__ == "__main__":
    raise SystemExit(main())
