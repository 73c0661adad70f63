"""Evals made by hand: hypotheses files and the cells that point at them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asrcore import io
from asrcore.locales import latency_ms
from asrcore.requests import CheckpointRef, EvalCell, Hypothesis, ManifestRef
from asrcore.score import NORMALISER, with_ci

BASE = CheckpointRef(name="base", path="/models/base.nemo", sha256="b" * 64)
TUNED = CheckpointRef(name="tuned", path="/models/tuned.nemo", sha256="c" * 64)


def hypotheses(
    references: Sequence[str], texts: Sequence[str], locale: str = "en-US", speakers: int = 25, source: str | None = None
) -> list[Hypothesis]:
    """One utterance a reference; speakers take turns, 0 names none."""
    return [
        Hypothesis(id=f"u{n}", locale=locale, reference=reference, text=text, raw_text=text, tag=None, duration=2.0,
                   speaker=f"s{n % speakers}" if speakers else None, source=source, line=n + 1)
        for n, (reference, text) in enumerate(zip(references, texts, strict=True))
    ]  # fmt: skip


def cell(
    folder: Path, checkpoint: CheckpointRef, rows: Sequence[Hypothesis], set_name: str = "target", right: int = 0, **changes: Any
) -> EvalCell:
    """A cell over `rows`, whose file lies in `folder`."""
    context = (56, right)
    eval_id = "eval_" + io.sha256_json([checkpoint.sha256, set_name, context, str(changes)])[:12]
    file = folder / f"{eval_id}.jsonl"
    io.write_text(file, "".join(row.model_dump_json() + "\n" for row in rows))
    values = {
        "eval_id": eval_id, "checkpoint": checkpoint, "set": ManifestRef(name=set_name, path=f"/data/{set_name}.json", sha256=io.sha256_json(set_name)),
        "att_context": context, "latency_ms": latency_ms(context), "prompt_mode": "langID", "locales": tuple(sorted({r.locale for r in rows})),
        "utterances": len(rows), "seconds": sum(r.duration for r in rows), "raw": with_ci(rows, normalised=False),
        "normalised": with_ci(rows, normalised=True), "normaliser": NORMALISER, "empty_hypotheses": sum(not r.text for r in rows),
        "script_share": 1.0, "rtfx": 20.0, "engine": "exact/1", "batch_size": 16, "hypotheses": str(file), "versions": {"torch": "2.13"},
    }  # fmt: skip
    return EvalCell.model_validate(values | changes)
