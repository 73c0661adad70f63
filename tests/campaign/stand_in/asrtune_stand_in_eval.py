"""Stands for streaming decoding: writes transcripts as good as the skill that a stand-in training left in its checkpoint, scored for real.

A word is wrong where its luck, fixed by the utterance, is below the share of wrong words; so a better model keeps what was right.
"""

from __future__ import annotations

import json
import random
import tarfile
from pathlib import Path

from asrtune_stand_in_train import BASE_SKILL, SKILL, TARGET

from asrcore import io
from asrcore.jobs.child import Reporter, main
from asrcore.locales import latency_ms
from asrcore.manifest import Row, kept_rows
from asrcore.requests import EvalCell, EvalRequest, EvalResult, Hypothesis, ManifestRef, PromptMode
from asrcore.score.cell import score_hypotheses
from asrcore.score.hypotheses import hypothesis_of, write_hypotheses
from asrcore.score.normalise import NORMALISER

WRONG_WORD = {"el-GR": "λάθος", "bg-BG": "грешка", "en-US": "mistake", "es-ES": "error"}
WRONG_TAG = "bg-BG"


def run(request: EvalRequest, reporter: Reporter) -> EvalResult:
    skill = skill_of(Path(request.checkpoint.path))
    cells = tuple(
        cell(request, manifest, context, mode, skill) for manifest in request.sets for context in request.att_contexts for mode in request.prompt_modes
    )
    reporter.event("evaluate", len(cells), len(cells))
    return EvalResult(cells=cells, seconds=1.0)


def cell(request: EvalRequest, manifest: ManifestRef, context: tuple[int, int], mode: PromptMode, skill: dict[str, float]) -> EvalCell:
    hyps = [heard(row, mode, skill) for row in kept_rows(Path(manifest.path))]
    eval_id = "eval_" + io.sha256_json([request.checkpoint.sha256, manifest.sha256, context, mode, NORMALISER])[:12]
    file = Path(request.out) / "hyps" / f"{eval_id}.jsonl"
    write_hypotheses(file, hyps)
    return EvalCell(**dict(score_hypotheses(hyps, mode)), eval_id=eval_id, checkpoint=request.checkpoint, set=manifest, att_context=context,
                    latency_ms=latency_ms(context), prompt_mode=mode, rtfx=1.0, engine="stand-in/1", batch_size=request.batch_size,
                    hypotheses=str(file), versions={})  # fmt: skip


def heard(row: Row, mode: PromptMode, skill: dict[str, float]) -> Hypothesis:
    luck, locale = random.Random(f"{row.utterance.id}"), row.utterance.target_lang
    share = skill["phone"] if locale == TARGET else skill["others"]
    tag = WRONG_TAG if luck.random() < skill["wrong_tags"] else locale
    text = " ".join(WRONG_WORD[locale] if luck.random() < share else word for word in row.utterance.text.split())
    return hypothesis_of(row, f"{text} <{tag}>" if mode == "auto" else text)


def skill_of(path: Path) -> dict[str, float]:
    with tarfile.open(path) as archive:
        found = next((archive.extractfile(member) for member in archive if member.name == SKILL), None)
        return BASE_SKILL if found is None else json.loads(found.read())


if __name__ == "__main__":
    main(EvalRequest, run)
