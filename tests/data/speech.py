"""Tiny recordings made here: noise with a spectrum that one can choose, and manifests of them."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import yaml
from numpy.typing import NDArray

from asrcore.audio import Samples

RATE = 16_000
GREEK = "Θέλω ένα εισιτήριο, παρακαλώ."


def noise(seconds: float = 2.0, rate: int = RATE, *, seed: int = 0, level: float = 0.1, top: float | None = None) -> Samples:
    """White noise of RMS `level`, with nothing above `top` Hz if given."""
    samples: NDArray[np.float64] = np.random.default_rng(seed).standard_normal(round(seconds * rate))
    if top is not None:
        spectrum = np.fft.rfft(samples)
        spectrum[np.fft.rfftfreq(len(samples), 1 / rate) > top] = 0
        samples = np.fft.irfft(spectrum, len(samples))
    return (samples * level / np.sqrt(np.mean(samples**2))).astype(np.float32).clip(-1, 1)


def wav(path: Path, samples: Samples | None = None, rate: int = RATE, **form: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, noise() if samples is None else samples, rate, **form)
    return path


def row(audio: str = "a.wav", **fields: Any) -> dict[str, Any]:
    """A good row for two seconds of `audio`; None drops a field."""
    made = {"audio_filepath": audio, "duration": 2.0, "text": GREEK, "target_lang": "el-GR"} | fields
    return {k: v for k, v in made.items() if v is not None}


def manifest(path: Path, rows: Iterable[Mapping[str, Any] | str | bytes]) -> Path:
    """JSON lines; text and bytes go in as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (r if isinstance(r, bytes) else (r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)).encode() for r in rows)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def corpus(folder: Path, name: str = "train", count: int = 5, **fields: Any) -> Path:
    """`count` different wideband clips of 2 s and longer by 0.1 s each."""
    rows: list[dict[str, Any]] = []
    for n in range(count):
        seconds = 2 + n / 10
        wav(folder / name / f"{n}.wav", noise(seconds, seed=n))
        rows.append(
            row(f"{n}.wav", duration=seconds, text=f"{GREEK[:-1]} {'και ' * (n % 4)}τώρα.", id=f"{name}-{n}", speaker=f"s{n % 2}", **fields)
        )
    return manifest(folder / name / "manifest.json", rows)


def nemo(path: Path, **config: Any) -> Path:
    """A `.nemo` with only a config inside."""
    base = {
        "target": "nemo.collections.asr.models.rnnt_bpe_models_prompt.EncDecRNNTBPEModelWithPrompt", "sample_rate": RATE,
        "model_defaults": {"num_prompts": 128, "prompt_dictionary": {"el-GR": 21, "el": 21, "auto": 101}},
        "encoder": {"att_context_size": [[56, 3], [56, 0]], "d_model": 8, "n_layers": 1}, "decoder": {"vocab_size": 16},
    }  # fmt: skip
    data = yaml.safe_dump(base | config).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("./model_config.yaml")
        info.size = len(data)
        archive.addfile(info, BytesIO(data))
    return path
