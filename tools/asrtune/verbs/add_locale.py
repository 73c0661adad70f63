"""Give a base a prompt slot for a language it was not trained on, started from a trained neighbour's, and check that it can spell the language.

Use it before build_shards and plan_finetune when validate_language_tags says untrained or unknown for the language, then plan with the new base's id. It
refuses a language of which the tokenizer lacks more than 0.1 % of the characters, naming them (tokenizer_cannot_spell): map them with fix_manifest, or pass
them as letters. It answers at once with a job id; list_objects with kind base names the new base. Cost: seconds on the embedded base, a minute and 2.5 GB
for 0.6B.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal
from unicodedata import normalize

from pydantic import Field

from asrcore.checkpoint import CheckpointInfo, checkpoint_ref, resolve_base, tokenizer_bytes
from asrcore.errors import NotReadyError, Problem, ToolFault, UsageError
from asrcore.io import sha256_json
from asrcore.jobs import JobView, answer, submit
from asrcore.locales import tier
from asrcore.manifest import kept_rows
from asrcore.requests import AddLocaleRequest, NewLetter
from asrcore.results import Frozen, Result
from asrcore.spelling import Spelling, count_changed, give_pieces, respell, spell
from asrcore.text import character_name
from asrcore.workspace import Workspace

MOST_UNKNOWN_SHARE = 0.001
"""Share of characters without a piece that a transcript may have: typing errors and stray symbols stay below, a missing letter does not."""


class Input(Frozen):
    base: str = Field("embedded", min_length=1, max_length=1000, description='"embedded", a .nemo path, or a hub id.')
    locale: str = Field(pattern=r"^[a-z]{2,3}-[A-Z]{2}$", description="The new tag, e.g. se-NO.")
    neighbour: str = Field(pattern=r"^[a-z]{2,3}-[A-Z]{2}$", description="A trained locale that is written and sounds like it, e.g. fi-FI.")
    manifest: str = Field(min_length=1, max_length=1000, description="Its training manifest, below a data root.")
    way: Literal["own_slot", "alias"] = Field(
        "own_slot", description="own_slot: a copy of the neighbour's slot. alias: that slot itself, which training will overwrite."
    )
    letters: str = Field(
        "", max_length=100, description="Letters it lacks: each takes a piece unused in manifest and keep."
    )
    keep: tuple[str, ...] = Field((), max_length=50, description="Manifests of languages to keep.")


Output = JobView


def run(request: Input, ws: Workspace) -> Result[Output]:
    base = resolve_base(ws, request.base)
    manifest, keep = ws.resolve_data(request.manifest), [ws.resolve_data(name) for name in request.keep]
    tokenizer = tokenizer_bytes(Path(base.path))
    spelling = spell(tokenizer, texts_of([manifest]))
    letters = list(dict.fromkeys("".join(normalize("NFC", request.letters).split())))
    problems = [
        *neighbour_problems(request, base),
        *letter_problems(letters, keep, spelling),
        *spelling_problems(spelling, letters, manifest),
    ]
    if any(p.code == "character_unknown" for p in problems):
        raise NotReadyError(
            "tokenizer_cannot_spell", f"the tokenizer lacks characters of the language ({len(problems)} problem(s)); a larger one is not offered, since exports, "
            "servers and blends rely on its size.", next_step="map the characters with fix_manifest, or call add_locale with letters and keep, or with another base.",
            problems=problems,
        )  # fmt: skip
    if problems:
        raise UsageError(problems[0].code, f"{len(problems)} problem(s) stand between this base and the language.",
                         next_step="correct what problems names and call add_locale again.", problems=problems)  # fmt: skip
    new = take_pieces(tokenizer, letters, spelling, keep) if letters else ()
    wanted = AddLocaleRequest(base=checkpoint_ref(base, request.base), locale=request.locale, neighbour=request.neighbour, way=request.way,
                              num_prompts=base.num_prompts, letters=new, out="")  # fmt: skip
    base_id = f"base_{sha256_json(wanted)[:12]}"
    job = submit(ws, "add_locale", wanted.model_copy(update={"out": str(ws.folder("bases", base_id))}))
    envelope = answer(job)
    spelled = f", with {len(new)} new letter(s) in the place of pieces that the texts do not use" if new else ""
    return envelope.model_copy(
        update={"summary": f"{envelope.summary} It makes {base_id}: {request.locale} beside {request.neighbour} ({request.way}){spelled}."}
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


def letter_problems(letters: list[str], keep: list[Path], spelling: Spelling) -> Iterator[Problem]:
    if letters and not keep:
        yield Problem(code="keep_missing", message="without texts of the other languages nobody knows which pieces they need",
                      fix="pass the replay and guard manifests as keep")  # fmt: skip
    for letter in letters:
        if letter not in spelling.unknown:
            yield Problem(code="letter_not_missing", message=f"{character_name(letter)} is in no transcript, or the tokenizer writes it already",
                          fix="take it out of letters")  # fmt: skip


def spelling_problems(spelling: Spelling, letters: list[str], manifest: Path) -> list[Problem]:
    """Characters of the transcripts that the tokenizer writes as unknown even with the letters, most frequent first, when they are more than a few."""
    missing = [(c, n) for c, n in spelling.unknown.most_common() if c not in letters]
    if sum(n for _, n in missing) <= MOST_UNKNOWN_SHARE * spelling.characters:
        return []
    return [
        Problem(code="character_unknown", message=f"{character_name(c)} occurs {n} times and the tokenizer has no piece for it", file=str(manifest),
                fix="map it to a letter the tokenizer has (fix_manifest), add it to letters, or take the rows out")
        for c, n in missing
    ]  # fmt: skip


def take_pieces(tokenizer: bytes, letters: list[str], spelling: Spelling, keep: list[Path]) -> tuple[NewLetter, ...]:
    """Raises `tokenizer_not_unigram`, `no_spare_piece`, and `kept_texts_changed` if a text of `keep` is written with other pieces than before."""
    new = give_pieces(tokenizer, letters, spelling.used | spell(tokenizer, texts_of(keep)).used)
    if changed := count_changed(tokenizer, respell(tokenizer, new), texts_of(keep), new):
        raise ToolFault("kept_texts_changed", f"{changed} text(s) of keep would be written with other pieces than before.",
                        next_step="map the characters with fix_manifest instead, and report this: it should not happen.")  # fmt: skip
    return new


def texts_of(manifests: Iterable[Path]) -> Iterator[str]:
    return (row.utterance.text for path in manifests for row in kept_rows(path))
