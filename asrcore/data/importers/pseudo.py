"""Pseudo-labels: what a checkpoint wrote for audio that nobody has transcribed, kept where a second checkpoint heard the same.

Source is the job folder of one finished `transcribe` (request.json and result.json), `agree_with` that of a second checkpoint on the same files, known
by their content. Every file becomes a row with the first checkpoint's text, marked as a pseudo-label with both checkpoints' digests. Rows that do not
pass are marked `_skipme` (`<filter>:pseudo`), not dropped:

* nothing_heard         one of the two wrote nothing
* runs_on               a phrase comes five times or more in a row: a loop, not speech
* several_languages     one of the two wrote tags of several languages
* other_script          less than 80 % of the letters are of the locale's script
* checkpoints_disagree  the two differ in more than `MOST_DISAGREEMENT` of the words

The marked rows come last, the most disputed first: they are the hard examples, where a person's transcript teaches most (query by committee, Seung et
al., COLT 1992). Agreement is no proof: two checkpoints of one base share its mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError
from rapidfuzz.distance import Levenshtein

from asrcore import io
from asrcore.data.importers.rows import PSEUDO_LABEL, BadRow, Item, Place, RawRow, ReadRequest
from asrcore.errors import UsageError
from asrcore.jobs.child import REQUEST, RESULT
from asrcore.manifest import below
from asrcore.requests import TranscribeRequest, TranscribeResult, Transcript
from asrcore.score.cell import REPEATS, longest_repeat
from asrcore.score.wer import tokens
from asrcore.text import count_script

MOST_DISAGREEMENT = 0.1
"""Edits between the two transcripts over the words (characters where CER is used) of the longer one: one word in ten. A judgement, not tuned."""
LEAST_SCRIPT = 0.8
"""The least share of letters in the locale's own characters that Granary's pipeline takes (NVIDIA/NeMo-speech-data-processor,
dataset_configs/multilingual/granary)."""


def read(request: ReadRequest) -> Iterator[Item]:
    """Rows of a finished transcribe job. Raises `second_transcripts_missing`, `transcripts_missing`, `same_checkpoint`."""
    if request.agree_with is None:
        raise UsageError("second_transcripts_missing", "the words of one model alone are no label.",
                         next_step="transcribe the same files with a second checkpoint and pass its job folder as agree_with.")  # fmt: skip
    asked, answered = _finished(request.source)
    second_asked, second_answered = _finished(request.agree_with)
    if asked.checkpoint.sha256 == second_asked.checkpoint.sha256:
        raise UsageError("same_checkpoint", "both transcripts are of one checkpoint, which always agrees with itself.",
                         next_step="transcribe the same files with another checkpoint: another run, seed or base.")  # fmt: skip
    seconds = dict(zip(second_asked.digests, second_answered.files, strict=True))
    teachers = {"pseudo_first": asked.checkpoint.sha256[:12], "pseudo_second": second_asked.checkpoint.sha256[:12]}
    marked: list[tuple[float, RawRow]] = []
    for name, digest, first in zip(asked.files, asked.digests, answered.files, strict=True):
        path, second = Path(name), seconds.get(digest)
        reason = _unusable(path, digest, first, second, request.roots)
        if reason or second is None:
            yield BadRow(Place(path), reason or "transcript_missing")
            continue
        locale = _locale(asked.language, first) or request.locale
        mark, disagreement = judged(first, second, locale or "und")
        extra = {PSEUDO_LABEL: True, **teachers, "disagreement": round(disagreement, 4), "source": "pseudo-label"}
        if mark:
            extra["second_text"] = second.untrusted_text
        row = RawRow(Place(path), path, first.untrusted_text, locale=locale, mark=f"{mark}:pseudo" if mark else None, extra=extra)
        if mark:
            marked.append((disagreement, row))
        else:
            yield row
    yield from (row for _, row in sorted(marked, key=lambda one: (-one[0], str(one[1].audio))))


def judged(first: Transcript, second: Transcript, locale: str) -> tuple[str | None, float]:
    """(the first filter that the pair does not pass, or None; their disagreement from 0 to 1)."""
    words = [tokens(one.untrusted_text, locale, normalised=True) for one in (first, second)]
    disagreement = disagreement_of(*words)
    if not all(words):
        return "nothing_heard", disagreement
    if any(longest_repeat(one) >= REPEATS for one in words):
        return "runs_on", disagreement
    if any(len(set(one.languages)) > 1 for one in (first, second)):
        return "several_languages", disagreement
    script = count_script(first.untrusted_text, locale)
    if locale != "und" and script.letters and script.own < LEAST_SCRIPT * script.letters:
        return "other_script", disagreement
    return ("checkpoints_disagree" if disagreement > MOST_DISAGREEMENT else None), disagreement


def disagreement_of(first: Sequence[str], second: Sequence[str]) -> float:
    """Edits over the length of the longer one, 0 (the same) to 1; two that are empty agree."""
    longest = max(len(first), len(second))
    return Levenshtein.distance(first, second) / longest if longest else 0.0


def _unusable(path: Path, digest: str, first: Transcript, second: Transcript | None, roots: Sequence[Path]) -> str | None:
    """Why a file gives no row; a key of REASONS."""
    if not below(path, roots):
        return "audio_refused"
    if not path.is_file():
        return "audio_missing"
    if first.error or (second and second.error):
        return "audio_unreadable"
    if second is None:
        return "transcript_missing"
    return None if io.sha256_file(path) == digest else "audio_changed"


def _locale(language: str, first: Transcript) -> str | None:
    """The prompt's tag, or with `auto` the one tag that the model wrote."""
    if language != "auto":
        return language
    return first.languages[0] if len(set(first.languages)) == 1 else None


def _finished(folder: Path) -> tuple[TranscribeRequest, TranscribeResult]:
    try:
        asked = TranscribeRequest.model_validate_json((folder / REQUEST).read_bytes())
        answered = TranscribeResult.model_validate_json((folder / RESULT).read_bytes())
    except (OSError, ValidationError):
        asked = answered = None
    if asked is None or answered is None or not len(asked.files) == len(asked.digests) == len(answered.files):
        raise UsageError("transcripts_missing", f"{folder} is not the folder of a finished transcribe job.",
                         next_step="pass the folder that get_job names as artifact once the transcribe job has succeeded.")  # fmt: skip
    return asked, answered
