"""What an independent recogniser heard, beside the transcripts of the set: rows that it understood quite otherwise are worth a person's ear.

Not a score: the recogniser may be wrong, and a set that it recognises badly is not judged at all. It has to be another system than the one that is tuned.
"""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
from pydantic import Field
from rapidfuzz.distance import Levenshtein

from asrcore.data.findings import Findings
from asrcore.manifest import Row
from asrcore.results import Frozen
from asrcore.score.peers import read_transcripts
from asrcore.score.wer import tokens

UNHEARD = 0.75
"""Edits over the longer of both texts (words, or characters where CER is used) from which a text is not of its audio, or a recogniser is lost. A judgement."""
MOST_MEDIAN = 0.5
"""Median of the same above which the recogniser does not know the language or the channel well enough to accuse a row."""


class HeardReport(Frozen):
    """Disagreement from 0 to 1: edits over the length of the longer text, normalised."""

    rows: int = Field(description="Rows with a transcript of the recogniser.")
    rows_missing: int
    median_disagreement: float
    rows_unheard: int = Field(description=f"Rows of a disagreement from {UNHEARD:g} on.")


class HeardCheck:
    """One pass over rows. Memory: the recogniser's transcripts, and 12 bytes a row."""

    def __init__(self, file: Path) -> None:
        """Raises `hypotheses_missing`, `peer_hypotheses_invalid`."""
        self._transcripts = read_transcripts(file)
        self._lines, self._disagreements = array("Q"), array("f")
        self.missing = 0

    def check(self, row: Row) -> None:
        utterance = row.utterance
        heard = next((self._transcripts[key] for key in (utterance.id, utterance.audio_filepath) if key is not None and key in self._transcripts), None)
        if heard is None:
            self.missing += 1
            return
        written, found = (tokens(text, utterance.target_lang, normalised=True) for text in (utterance.text, heard))
        self._lines.append(row.line)
        self._disagreements.append(Levenshtein.distance(written, found) / max(len(written), len(found), 1))

    def finish(self, findings: Findings) -> HeardReport:
        errors = np.frombuffer(self._disagreements, dtype=np.float32) if self._disagreements else np.zeros(0, dtype=np.float32)
        median, unheard = float(np.median(errors)) if len(errors) else 0.0, np.flatnonzero(errors >= UNHEARD)
        if self.missing:
            findings.add("heard_missing", "info", None, f"{self.missing} rows have no transcript of the recogniser", "transcribe them too, and call again")
        if median > MOST_MEDIAN:
            findings.add("heard_poor", "info", None, "the recogniser understands this set too badly to judge its rows", "take one that knows the language and channel")
        for index in unheard if median <= MOST_MEDIAN else ():
            findings.add("text_not_heard", "warning", self._lines[int(index)], "the recogniser heard something else than the text says",
                         "listen to these rows; correct or remove them")  # fmt: skip
        return HeardReport(rows=len(errors), rows_missing=self.missing, median_disagreement=round(median, 4), rows_unheard=len(unheard))
