"""What lossy shards cost: disk, time and words. Synthetic speech and the embedded base; the original sets are Opus already, so this is a second coding.

    python bench/opus_cost.py FOLDER [--sets en-US_guard_test,el-GR_clean_test] [--kbits 16,24,32] [--utterances 60]

The first utterances of each set become 16-bit FLAC, and once more what Opus at each rate leaves of them. For each rate: bytes over those of FLAC, seconds
of a core for an hour of audio, signal over change, and the embedded base at 80 ms on both, paired by utterance (compare_models). It measures what hearing
Opus costs a model that was trained on something else; what training on it costs, only a training tells. Nothing here has a bar. A minute a set and rate.
"""

from __future__ import annotations

import argparse
import io as memory
import math
import sys
import time
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import soundfile as sf

from asrcore import audio, io
from asrcore.data import opus
from asrcore.data.shard_audio import flac
from asrcore.data_requests import OpusKbits
from asrcore.embedded.shipped import unpack
from asrcore.jobs import ENDED, get_job
from asrcore.manifest import kept_rows, write_manifest
from asrcore.workspace import Workspace
from asrtune import registry

LOSSLESS: OpusKbits = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default="en-US_guard_test,el-GR_clean_test")
    parser.add_argument("--kbits", default="16,24,32")
    parser.add_argument("--utterances", type=int, default=60)
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    ws, sets = Workspace.open(folder), unpack(folder / "shipped")
    rates: list[OpusKbits] = [LOSSLESS, *(cast("OpusKbits", int(rate)) for rate in options.kbits.split(","))]
    for name in options.sets.split(","):
        evals: dict[OpusKbits, Any] = {}
        sizes: dict[OpusKbits, int] = {}
        for rate in rates:
            manifest, sizes[rate], about = written(sets[name], folder / f"{name}_{rate}", rate, options.utterances)
            evals[rate] = evaluated(ws, manifest)
            words = evals[rate]["normalised"]
            line = f"{name} {f'Opus {rate} kbit/s' if rate else 'FLAC'}: {sizes[rate] / sizes[LOSSLESS]:.3f} of the bytes, {about}; WER {words['percent']:.2f} %"
            if rate:
                verdict = registry.call("compare_models", {"base_eval": evals[LOSSLESS]["eval_id"], "tuned_eval": evals[rate]["eval_id"]}, ws)
                line += f"; {verdict.summary}"
            print(line, flush=True)
    return 0


def written(source: Path, folder: Path, rate: OpusKbits, count: int) -> tuple[Path, int, str]:
    """The manifest of the copies, the bytes that shards would take for them, and what the coding cost."""
    rows, taken, spent, energy, error = kept_rows(source)[:count], 0, 0.0, 0.0, 0.0
    for row in rows:
        samples = audio.decode(row.audio)
        started = time.process_time()
        data = flac(samples)
        if rate:
            made = opus.encode(samples, rate)
            data, energy, error = made.data, energy + made.energy, error + made.error
        spent += time.process_time() - started
        taken += len(data)
        heard: Any = sf.read(memory.BytesIO(data), dtype="float32")[0]
        io.write_bytes(folder / f"{row.line:05d}.flac", flac(heard))
    path = folder / "manifest.jsonl"
    write_manifest(path, (row.utterance.model_copy(update={"audio_filepath": f"{row.line:05d}.flac"}) for row in rows))
    hours = sum(row.utterance.duration for row in rows) / 3600
    snr = f", change {10 * math.log10(energy / error):.1f} dB under the audio" if error else ""
    return path, taken, f"{spent / hours:.0f} s of a core an hour{snr}"


def evaluated(ws: Workspace, manifest: Path) -> Any:
    """The eval cell, finished; the same eval again is found."""
    job = registry.call("run_streaming_eval", {"checkpoint": "embedded", "manifests": [str(manifest)], "engine": "auto"}, ws).data
    view = get_job(ws, job.job_id)
    while view.state not in ENDED:
        view = get_job(ws, view.job_id, 45, wake_on_event=False)
    if view.result is None:
        raise SystemExit(f"the eval of {manifest} ended as {view.state}: {view.error}")
    return view.result["cells"][0]


if __name__ == "__main__":
    raise SystemExit(main())
