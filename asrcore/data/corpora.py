"""The catalogue of public corpora (`corpora.toml`): what each language can be tuned, replayed and measured with, and where that is written."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from asrcore.data.importers.formats import Format
from asrcore.results import Frozen
from asrcore.text import language

CATALOGUE = Path(__file__).with_name("corpora.toml")

_SAME = {"no": "nb", "iw": "he"}
"""Older codes -> the code of the catalogue."""


class Corpus(Frozen):
    """One corpus. Texts are statements of the sources listed; nobody promises that they are still true."""

    name: str
    title: str
    languages: tuple[str, ...] = Field(description='Language codes; "*" for a corpus with more languages than can be listed.')
    listed: Literal["all", "some"] = Field(description="Whether the list of languages is complete.")
    hours: str
    style: str
    licence: str
    get: str = Field(description="How to get it. asrtune downloads nothing but what import_dataset is given as hf://datasets/…")
    format: Format = Field(description="The format to pass to import_dataset.")
    needs: dict[str, str] = Field(description="Its other arguments for import_dataset, each with what to pass.")
    in_base_training: bool = Field(description="Whether the base model was trained on it, by its card.")
    watch_out: str
    sources: tuple[str, ...] = Field(min_length=1)


@cache
def catalogue() -> tuple[Corpus, ...]:
    """All corpora, in the order of the file."""
    return tuple(Corpus.model_validate(entry) for entry in tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))["corpus"])


def corpora_for(locale: str) -> tuple[Corpus, ...]:
    """Corpora that list the language of a locale first, then those that may have it."""
    spoken = language(locale)
    wanted = _SAME.get(spoken, spoken)
    sure = [c for c in catalogue() if wanted in c.languages]
    return (*sure, *(c for c in catalogue() if "*" in c.languages and c not in sure))
