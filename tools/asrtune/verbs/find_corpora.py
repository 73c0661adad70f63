"""Lists public speech corpora for a locale: hours, text style, licence, how to get each and how to import it.

Use it when the person has too little data, or to find replay data for the languages to keep; not to judge data on disk (inspect_dataset does). It
knows only what its catalogue states, with the sources; it downloads nothing and asks no server, and a licence has to be read by the person.
It returns corpora that list the language first, then those that may have it. Cost: milliseconds.
"""

from __future__ import annotations

from pydantic import Field

from asrcore.data.corpora import Corpus, catalogue, corpora_for
from asrcore.data.importing import is_locale
from asrcore.errors import UsageError
from asrcore.results import Frozen, Result
from asrcore.workspace import Workspace


class Input(Frozen):
    locale: str = Field(min_length=2, max_length=16, description="Locale tag such as el-GR, or a language such as el.")


class Found(Frozen):
    locale: str
    corpora: tuple[Corpus, ...]


Output = Found


def run(request: Input, ws: Workspace) -> Result[Output]:
    if not is_locale(request.locale):
        raise UsageError("locale_invalid", "this is no locale tag.", next_step="pass a tag such as el-GR, or a language such as el.")
    found = corpora_for(request.locale)
    sure = [c.title for c in found if "*" not in c.languages]
    return Result(
        summary=f"{len(sure)} of {len(catalogue())} corpora list this language: {', '.join(sure) or 'none'}; {len(found) - len(sure)} may have it.",
        data=Found(locale=request.locale, corpora=found),
    )
