"""Give a base a prompt slot for a language it was not trained on, started from a trained neighbour's, and check that it can spell the language.

Use it before build_shards and plan_finetune when validate_language_tags says untrained or unknown for the language you want to teach (not for one the
base knows), then plan with the new base's id. The way own_slot (default) copies the neighbour's prompt column into a slot of the new tag's own and touches
no other language; alias points the tag at the neighbour's slot, which training will then overwrite. It answers at once with a job id (list_objects with kind
base names the new base), and refuses a language of which the tokenizer lacks more than 0.1 % of the characters, naming them (tokenizer_cannot_spell): map
them with fix_manifest, or choose another base. Cost: seconds on the embedded base, a minute and 2.5 GB for 0.6B.
"""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from asrcore.checkpoint import CheckpointInfo, checkpoint_ref, resolve_base, tokenizer_bytes
from asrcore.errors import NotReadyError, Problem, UsageError
from asrcore.io import sha256_json
from asrcore.jobs import JobView, answer, submit
from asrcore.locales import tier
from asrcore.manifest import kept_rows
from asrcore.requests import AddLocaleRequest
from asrcore.results import Frozen, Result
from asrcore.text import character_name
from asrcore.workspace import Workspace

MOST_UNKNOWN_SHARE = 0.001
"""Share of characters without a piece that a transcript may have: typing errors and stray symbols stay below, a missing letter does not."""


class Input(Frozen):
    base: str = Field("embedded", min_length=1, max_length=1000, description='"embedded", a .nemo path, or a hub id.')
    locale: str = Field(pattern=r"^[a-z]{2,3}-[A-Z]{2}$", description="The new tag, e.g. se-NO.")
    neighbour: str = Field(
        pattern=r"^[a-z]{2,3}-[A-Z]{2}$", description="A trained locale that is written and sounds most like it, e.g. fi-FI."
    )
    manifest: str = Field(
        min_length=1, max_length=1000, description="Transcripts of the new language, below a data root: its training manifest."
    )
    way: Literal["own_slot", "alias"] = Field(
        "own_slot", description="own_slot: a slot of its own, a copy of the neighbour's. alias: the neighbour's slot itself."
    )


Output = JobView


def run(request: Input, ws: Workspace) -> Result[Output]:
    base = resolve_base(ws, request.base)
    manifest = ws.resolve_data(request.manifest)
    problems = [*neighbour_problems(request, base), *spelling_problems(base, manifest)]
    if problems:
        code = "tokenizer_cannot_spell" if any(p.code == "character_unknown" for p in problems) else problems[0].code
        raise (NotReadyError if code == "tokenizer_cannot_spell" else UsageError)(
            code, f"{len(problems)} problem(s) stand between this base and the language.",
            next_step="map the characters with fix_manifest, or call add_locale with another neighbour or base.", problems=problems,
        )  # fmt: skip
    wanted = AddLocaleRequest(base=checkpoint_ref(base, request.base), locale=request.locale, neighbour=request.neighbour, way=request.way,
                              num_prompts=base.num_prompts, out="")  # fmt: skip
    base_id = f"base_{sha256_json(wanted)[:12]}"
    job = submit(ws, "add_locale", wanted.model_copy(update={"out": str(ws.folder("bases", base_id))}))
    envelope = answer(job)
    return envelope.model_copy(
        update={"summary": f"{envelope.summary} It makes {base_id}: {request.locale} beside {request.neighbour} ({request.way})."}
    )


def neighbour_problems(request: Input, base: CheckpointInfo) -> list[Problem]:
    if request.neighbour not in base.prompt_dictionary:
        return [
            Problem(
                code="neighbour_unknown", message=f"the base has no slot for {request.neighbour}", fix="name a trained locale of the base"
            )
        ]
    if tier(request.neighbour) == "untrained":
        return [
            Problem(
                code="neighbour_untrained",
                message=f"{request.neighbour} was never trained itself",
                fix="name a locale of the model card's tiers",
            )
        ]
    if tier(request.locale) != "untrained" and request.locale in base.prompt_dictionary:
        return [
            Problem(
                code="locale_known",
                message=f"the base was trained on {request.locale}",
                fix="plan_finetune with its own tag; no new slot is needed",
            )
        ]
    return []


def spelling_problems(base: CheckpointInfo, manifest: Path) -> list[Problem]:
    """Characters of the transcripts that the tokenizer writes as unknown, most frequent first, when they are more than a few."""
    library: Any = importlib.import_module("sentencepiece")
    tokenizer: Any = library.SentencePieceProcessor(model_proto=tokenizer_bytes(Path(base.path)))
    unknown = int(tokenizer.unk_id())
    counts: Counter[str] = Counter()
    for row in kept_rows(manifest):
        counts.update(c for c in row.utterance.text if not c.isspace())
    missing = {c: n for c, n in counts.items() if unknown in tokenizer.encode(c)}
    if sum(missing.values()) <= MOST_UNKNOWN_SHARE * sum(counts.values()):
        return []
    return [
        Problem(code="character_unknown", message=f"{character_name(c)} occurs {n} times and the tokenizer has no piece for it", file=str(manifest),
                fix="map it to a letter the tokenizer has (fix_manifest), or take the rows out")
        for c, n in sorted(missing.items(), key=lambda pair: -pair[1])
    ]  # fmt: skip
