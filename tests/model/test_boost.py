"""Phrase boosting on the embedded base: it acts in its own stream only, changes which word is written but not when the model speaks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from asrcore.audio import decode
from asrcore.checkpoint import embedded_base
from asrcore.embedded import shipped
from asrcore.errors import UsageError
from asrcore.manifest import load_rows

pytestmark = pytest.mark.heavy
CONTEXT = (56, 13)


@pytest.fixture(scope="module")
def model() -> Any:
    from asrcore.model.restore import restore

    return restore(embedded_base())


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """(audio, text) of six utterances."""
    rows = load_rows(shipped.unpack(tmp_path_factory.mktemp("sets"))["en-US_guard_test"])[:6]
    return [(row.audio, row.utterance.text) for row in rows]


def texts(model: Any, clips: list[tuple[Path, str]], boosts: list[Any], batch_size: int) -> list[str]:
    from asrcore.model.restore import prompt_slots
    from asrcore.model.stream import StreamingDecoder, StreamItem

    slot = prompt_slots(model)["en-US"]
    items = [
        StreamItem(n, partial(decode, audio), slot, 1.0, boost) for n, ((audio, _), boost) in enumerate(zip(clips, boosts, strict=True))
    ]
    return [str(model.tokenizer.ids_to_text(list(d.tokens))) for d in StreamingDecoder(model, CONTEXT, batch_size).decode(items)]


def test_a_boosted_phrase_is_written_in_its_own_stream_and_changes_no_other(model: Any, clips: list[tuple[Path, str]]) -> None:
    from asrcore.model.boost import make_boost

    plain = texts(model, clips, [None] * 6, 1)
    phrase = "zebra"
    assert all(phrase not in text for text in plain)
    assert all(len(text) >= 3 for text in plain)
    boost = make_boost(model, [phrase], 50.0)  # absurd on purpose: every word that is begun becomes this one
    mixed = [None, boost, None, boost, None, None]
    for batch_size in (1, 3, 6):
        heard = texts(model, clips, mixed, batch_size)
        assert [text for text, b in zip(heard, mixed, strict=True) if b is None] == [
            text for text, b in zip(plain, mixed, strict=True) if b is None
        ]
        assert all(phrase in text for text, b in zip(heard, mixed, strict=True) if b is not None)


def test_a_place_forgets_the_phrases_of_the_stream_before(model: Any, clips: list[tuple[Path, str]]) -> None:
    from asrcore.model.boost import make_boost

    boost = make_boost(model, ["zebra"], 50.0)
    plain = texts(model, clips, [None] * 6, 1)
    assert texts(model, clips, [boost, None, None, None, None, None], 1)[1:] == plain[1:]


def test_a_faint_boost_of_what_is_said_changes_nothing_and_two_lists_do_not_mix(model: Any, clips: list[tuple[Path, str]]) -> None:
    from asrcore.model.boost import make_boost

    plain = texts(model, clips, [None] * 6, 6)
    words = [text.split()[0] for text in plain]
    assert texts(model, clips, [make_boost(model, [word], 0.01) for word in words], 6) == plain


def test_a_phrase_that_breaks_off_gives_its_bonus_back(model: Any) -> None:
    """The tree's arithmetic, by hand: whatever path leads out of a phrase, the sum of its scores is zero; a whole phrase keeps its bonus."""
    import torch

    from asrcore.model.boost import make_boost

    boost = make_boost(model, ["zebra crossing"], 1.0)
    ids = model.tokenizer.text_to_ids("zebra crossing")
    other = next(i for i in range(1, model.tokenizer.vocab_size) if i not in ids)

    def score(path: list[int]) -> float:
        state, total = boost.tree.get_init_states(1), 0.0
        with torch.inference_mode():
            for token in path:
                scores, after = boost.tree.advance(state)
                total += float(scores[0, token])
                state = after[:, token]
        return total

    assert score(ids) > 1
    assert score([*ids[:-1], other]) == pytest.approx(0, abs=1e-4)
    assert score([other, other]) == pytest.approx(0, abs=1e-4)
    assert score([*ids, other]) == pytest.approx(score(ids), abs=1e-4)


def test_a_phrase_that_the_checkpoint_cannot_write_is_refused_with_its_number(model: Any) -> None:
    from asrcore.model.boost import make_boost

    with pytest.raises(UsageError, match="boost_phrase_unwritable") as refused:
        make_boost(model, ["good", "\u4f60\u597d\U0001f600"], 1.0)
    assert [problem.message for problem in refused.value.problems] == ["phrase 2 of the list"]
    assert "\u4f60" not in str(refused.value)
