"""A campaign written down before the engine that judges it: base and seven rounds on Greek telephone speech, made by hand, no model.

Each round says what the candidate's transcripts are like, and what a careful person would decide about them. The transcripts are drawn word by
word: a word is wrong where its luck, fixed per set, is below the round's share, so a lower share keeps what was right.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from asrcore.jobs import Ledger
from asrcore.requests import CheckpointRef, EvalCell, Hypothesis
from asrcore.workspace import Workspace
from tests.score.evals import BASE, cell

WORDS = {"el-GR": "η γραμμή είναι απασχολημένη παρακαλώ καλέστε ξανά αύριο", "bg-BG": "линията е заета моля обадете се пак утре",
         "en-US": "the line is busy please call back tomorrow"}  # fmt: skip
WRONG = {"el-GR": "λάθος", "bg-BG": "грешка", "en-US": "mistake"}
SETS = {"phone": "el-GR", "phone_auto": "el-GR", "guard_bg": "bg-BG", "guard_en": "en-US"}
UTTERANCES, LENGTH, SPEAKERS = 300, 8, 40
MIN_GAIN = 1.0


class Step(NamedTuple):
    """One round. Shares of wrong words are 0 to 1; `wrong_tags` is the share of utterances that carry `instead` as their tag in `auto`."""

    name: str
    hours: float | None
    phone: float
    bulgarian: float
    wrong_tags: float
    judgement: str
    lever: str
    rule: str
    instead: str | None = "bg-BG"


STEPS = (
    Step("base", None, 0.40, 0.10, 0.01, "none", "add_data", "more_data"),
    Step("ten_hours", 10, 0.28, 0.10, 0.01, "promote", "add_data", "more_data"),
    Step("forgotten_guard", 20, 0.22, 0.18, 0.01, "reject", "blend", "forgotten"),
    Step("blended", 20, 0.25, 0.14, 0.01, "reject", "more_replay", "forgotten_despite_blending"),
    Step("more_replay", 20, 0.22, 0.10, 0.01, "promote", "add_data", "more_data"),
    Step("poisoned", 40, 0.30, 0.10, 0.35, "reject", "fix_data", "poisoned"),
    Step("mended", 40, 0.19, 0.10, 0.01, "promote", "add_data", "more_data"),
    Step("plateau", 80, 0.19, 0.10, 0.01, "undecided", "stop", "plateau"),
)


def checkpoint(step: Step) -> CheckpointRef:
    if step.name == "base":
        return BASE
    return CheckpointRef(name=step.name, path=f"/models/{step.name}.nemo", sha256=(step.name.encode().hex() * 8)[:64])


def rows(set_name: str, step: Step) -> list[Hypothesis]:
    locale, rng = SETS[set_name], random.Random(set_name)
    share = {"el-GR": step.phone, "bg-BG": step.bulgarian, "en-US": 0.08}[locale]
    found: list[Hypothesis] = []
    for n in range(UTTERANCES):
        words, luck = rng.choices(WORDS[locale].split(), k=LENGTH), [rng.random() for _ in range(LENGTH)]
        text = " ".join(WRONG[locale] if u < share else w for w, u in zip(words, luck, strict=True))
        tag = None if set_name != "phone_auto" else step.instead if rng.random() < step.wrong_tags else locale
        found.append(Hypothesis(id=f"{set_name}{n}", locale=locale, reference=" ".join(words), text=text, raw_text=text if tag is None else f"{text} <{tag}>",
                                tag=tag, duration=3.0, speaker=f"{set_name}-s{n % SPEAKERS}", source="phone", line=n + 1,
                                fields={"channel": "gsm" if n % 4 else "voip"}))  # fmt: skip
    return found


def measured(ws: Workspace, step: Step) -> Mapping[str, str]:
    """Writes the evals of one checkpoint into the ledger; set name -> eval id."""
    made: dict[str, EvalCell] = {}
    for name in SETS:
        hyps = rows(name, step)
        auto = name == "phone_auto"
        wrong = sum(h.tag != h.locale for h in hyps) / len(hyps) if auto else None
        made[name] = cell(Path(ws.home) / "evals", checkpoint(step), hyps, set_name=name, prompt_mode="auto" if auto else "langID", wrong_tag_rate=wrong)
    with Ledger.open(ws) as ledger:
        for one in made.values():
            ledger.put("eval", one.eval_id, one)
    return {name: one.eval_id for name, one in made.items()}
