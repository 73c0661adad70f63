"""find_corpora: a catalogue in which every statement has a source and every import hint works."""

from __future__ import annotations

import pytest

from asrcore.data.corpora import CATALOGUE, catalogue
from asrcore.data.importers.formats import READERS, WITH_COLUMNS, WITH_PARTS, WITH_STYLES
from asrcore.errors import AsrtuneError
from asrcore.locales import TIERED
from asrcore.workspace import Workspace
from asrtune import registry


def test_every_corpus_has_sources_and_a_format_that_can_be_imported() -> None:
    assert len(catalogue()) >= 6
    for corpus in catalogue():
        assert all(source.startswith("https://") for source in corpus.sources)
        assert corpus.format in READERS
        assert corpus.licence
        assert {"source", "target_lang"} <= set(corpus.needs) <= set(registry.input_schema("import_dataset")["properties"]) - {"format"}
        assert "split" not in corpus.needs or corpus.format in WITH_PARTS
        assert "style" not in corpus.needs or corpus.format in WITH_STYLES
        assert "columns" not in corpus.needs or corpus.format in WITH_COLUMNS
        assert ("audio_root" in corpus.needs) == (corpus.format in ("mosel", "granary", "table")), "where audio and texts come apart"
        assert len(set(corpus.languages)) == len(corpus.languages)
    assert len({corpus.name for corpus in catalogue()}) == len(catalogue()) == CATALOGUE.read_text(encoding="utf-8").count("[[corpus]]")


@pytest.mark.parametrize(("locale", "sure"), [("el-GR", {"fleurs", "mosel", "granary", "granary_v2"}), ("no-NO", {"fleurs"}), ("qu-PE", set())])
def test_corpora_that_list_the_language_come_first_then_those_that_may_have_it(ws: Workspace, locale: str, sure: set[str]) -> None:
    found = registry.call("find_corpora", {"locale": locale}, ws).data.corpora
    assert {c.name for c in found[: len(sure)]} == sure
    assert [c.name for c in found[len(sure) :]] == ["common_voice"]


@pytest.mark.parametrize("locale", TIERED)
def test_there_is_something_for_every_locale_of_the_card(ws: Workspace, locale: str) -> None:
    assert registry.call("find_corpora", {"locale": locale}, ws).data.corpora


@pytest.mark.parametrize("locale", ["auto", "null", "NaN", "a tag", "el_GR_x", "../x"])
def test_what_is_no_locale_is_refused(ws: Workspace, locale: str) -> None:
    with pytest.raises(AsrtuneError) as caught:
        registry.call("find_corpora", {"locale": locale}, ws)
    assert caught.value.code == "locale_invalid"
