"""Opens a checkpoint for inference, with NeMo's start-up noise turned down."""

from __future__ import annotations

import logging
import os
import pickle
import tarfile
import warnings
from pathlib import Path
from typing import Any

import torch

from asrcore.errors import NotReadyError, UsageError

PROMPT_CLASS = "EncDecRNNTBPEModelWithPrompt"


def fastest_device() -> str:
    """The GPU that PyTorch takes by default where it can use one, else the CPU: what decodes unless a caller says otherwise."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def restore(path: Path, *, device: str = "cpu", threads: int | None = None) -> Any:
    """The model in eval mode, without dither or feature padding, on `device`. Raises `checkpoint_unreadable`, `checkpoint_not_prompt_class`.

    Dither is noise that NeMo adds to the waveform; with it two decodes of the same audio differ.
    """
    quiet()
    torch.set_num_threads(threads or int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))
    from nemo.collections.asr.models import ASRModel  # the import takes seconds; children that fail early should not pay it

    try:
        model: Any = ASRModel.restore_from(str(path), map_location=torch.device(device))
    except torch.OutOfMemoryError:
        raise
    except (OSError, EOFError, RuntimeError, tarfile.TarError, pickle.UnpicklingError) as error:
        raise NotReadyError("checkpoint_unreadable", f"NeMo cannot open the checkpoint ({type(error).__name__}): it is cut, damaged or of another topology.",
                            next_step="compare its sha256 with the source's and copy it again.") from error  # fmt: skip
    if type(model).__name__ != PROMPT_CLASS:
        raise UsageError("checkpoint_not_prompt_class", f"the checkpoint holds a {type(model).__name__}, not a {PROMPT_CLASS}.",
                         next_step="pass a checkpoint of the nemotron-3.5 streaming family.")  # fmt: skip
    model.eval()
    model.preprocessor.featurizer.dither = 0.0
    model.preprocessor.featurizer.pad_to = 0
    return model


def quiet() -> None:
    """Errors only from NeMo and its dependencies; asrtune's own warnings stay visible."""
    warnings.filterwarnings("ignore", module=r"(?!asrcore|asrtune).*")
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    from nemo.utils import logging as nemo_logging

    nemo_logging.setLevel(logging.ERROR)


def prompt_slots(model: Any) -> dict[str, int]:
    """The checkpoint's own tag -> slot dictionary (the one that inference uses; NeMo 3.0, rnnt_bpe_models_prompt.py)."""
    return {str(tag): int(slot) for tag, slot in model.cfg.model_defaults.prompt_dictionary.items()}
