"""Training batches: prompts, tags, sources, order."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from asrcore.errors import NotReadyError
from asrcore.locales import PROMPT_DICTIONARY
from asrcore.requests import TrainRequest
from asrcore.workspace import Workspace
from tests.model.runs import Bench
from tests.recipe.corpora import build, corpus

pytestmark = pytest.mark.heavy

AUTO = PROMPT_DICTIONARY["auto"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("loader"))


@pytest.fixture(scope="module")
def tokenizer(bench: Bench) -> Any:
    from pathlib import Path

    from asrcore.model.restore import restore

    return restore(Path(bench.base.path), threads=1).tokenizer


def take(request: TrainRequest, tokenizer: Any, count: int, skip: int = 0, place: tuple[int, int] = (0, 1)) -> list[Any]:
    """The first batches of one process of several; `place` is its rank and their number."""
    from asrcore.model.loader import batches
    from asrcore.model.train_ranks import Ranks

    return list(islice(batches(request, tokenizer, PROMPT_DICTIONARY, sample_rate=16_000, skip=skip, ranks=Ranks(*place)), count))


def texts(batch: Any, tokenizer: Any) -> list[str]:
    return [tokenizer.ids_to_text(row[:length].tolist()) for row, length in zip(batch.tokens, batch.token_lens, strict=True)]


def test_auto_rows_carry_slot_101_and_end_in_their_tag_and_the_others_neither(bench: Bench, tokenizer: Any) -> None:
    modes: set[bool] = set()
    for batch in take(bench.request("tags"), tokenizer, 6):
        for text, slot, locale in zip(texts(batch, tokenizer), batch.slots.tolist(), batch.locales, strict=True):
            modes.add(slot == AUTO)
            assert slot in (AUTO, PROMPT_DICTIONARY[locale])
            assert text.endswith(f"<{locale}>") == (slot == AUTO)
    assert modes == {True, False}


@pytest.mark.parametrize(("mode", "auto"), [("langID", False), ("auto", True)])
def test_a_pure_mode_gives_every_row_that_prompt(bench: Bench, tokenizer: Any, mode: str, auto: bool) -> None:
    (batch,) = take(bench.request("modes", prompt_mode=mode), tokenizer, 1)
    assert all((slot == AUTO) == auto for slot in batch.slots.tolist())


def test_tags_are_left_out_of_auto_rows_when_asked(bench: Bench, tokenizer: Any) -> None:
    (batch,) = take(bench.request("plain", prompt_mode="auto", emit_tag_in_auto=False), tokenizer, 1)
    assert not any("<" in text for text in texts(batch, tokenizer))


def test_both_sources_are_drawn_in_about_their_weights(bench: Bench, tokenizer: Any) -> None:
    drawn = [source for batch in take(bench.request("weights"), tokenizer, 40) for source in batch.sources]
    for source in bench.shards.sources:
        assert drawn.count(source.name) / len(drawn) == pytest.approx(source.weight, abs=0.12)


def test_skipping_batches_gives_just_the_batches_that_would_have_come(bench: Bench, tokenizer: Any) -> None:
    """Trap 3.21: the order depends on the seed alone, so a resumed run sees what an uninterrupted one would have seen."""
    import torch

    request = bench.request("skip")
    whole, rest = take(request, tokenizer, 9), take(request, tokenizer, 4, skip=5)
    for expected, found in zip(whole[5:], rest, strict=True):
        assert torch.equal(expected.audio, found.audio)
        assert torch.equal(expected.tokens, found.tokens)
        assert torch.equal(expected.slots, found.slots)
    other = take(request.model_copy(update={"seed": 1}), tokenizer, 1)[0]
    assert other.audio.shape != whole[0].audio.shape or not torch.equal(other.audio, whole[0].audio)


def test_the_rows_of_all_ranks_are_those_of_one_process(bench: Bench, tokenizer: Any) -> None:
    """Trap 3.13: what was mixed and consumed does not depend on the number of processes, and every rank can say it of all of them."""
    import torch

    request = bench.request("ranks", batch_size=5)
    whole, parts = take(request, tokenizer, 4), [take(request, tokenizer, 4, place=(rank, 2)) for rank in range(2)]
    for batch, *shared in zip(whole, *parts, strict=True):
        assert [part.share for part in shared] == [0.6, 0.4]
        for rank, part in enumerate(shared):
            assert (part.sources, part.locales, part.seconds) == (batch.sources, batch.locales, batch.seconds)
            for row, length in enumerate(part.audio_lens.tolist()):
                assert torch.equal(part.audio[row, :length], batch.audio[rank + 2 * row, :length])
            assert part.audio_lens.tolist() == batch.audio_lens.tolist()[rank::2]
            assert part.slots.tolist() == batch.slots.tolist()[rank::2]
            assert texts(part, tokenizer) == texts(batch, tokenizer)[rank::2]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """40 clips of 0.7 s and 40 of 3 s: in four buckets of like length no batch holds both."""
    folder = tmp_path_factory.mktemp("uneven")
    bench = Bench(folder)
    clips = [corpus(folder, "short", "el-GR", 40), corpus(folder, "long", "el-GR", 40, first=3.0)]
    bench.shards = build(Workspace.open(folder), clips)
    return bench


def spread(batch: Any) -> float:
    """Longest over shortest utterance."""
    return max(batch.seconds) / min(batch.seconds)


def test_utterances_of_like_length_share_a_batch_unless_bucketing_is_off(uneven: Bench, tokenizer: Any) -> None:
    like = take(uneven.request("like", batch_size=8), tokenizer, 12)
    mixed = take(uneven.request("mixed", batch_size=8, bucketing=False), tokenizer, 12)
    assert {len(batch.seconds) for batch in (*like, *mixed)} == {8}
    assert all(spread(batch) < 2.3 for batch in like)
    assert sum(spread(batch) > 2 for batch in mixed) >= 10
    again = take(uneven.request("mixed", batch_size=8, bucketing=False), tokenizer, 4, skip=8)
    assert [batch.seconds for batch in again] == [batch.seconds for batch in mixed[8:]], "a resume goes on with the batches that would have come"


def test_a_batch_by_seconds_holds_as_many_as_fill_it_and_never_more(uneven: Bench, tokenizer: Any) -> None:
    """Trap 3.17: the padded batch, its longest times their number, is what memory has to hold."""
    request = uneven.request("seconds", batch_seconds=16.0)
    found = take(request, tokenizer, 24)
    padded = [(len(batch.seconds), max(batch.seconds)) for batch in found]
    assert all(rows * longest <= 16.0 < (rows + 1) * longest for rows, longest in padded)
    assert min(rows for rows, _ in padded) <= 5 < 10 <= max(rows for rows, _ in padded)
    assert [batch.seconds for batch in take(request, tokenizer, 4, skip=20)] == [batch.seconds for batch in found[20:]]


def test_the_smallest_batch_by_seconds_is_of_the_longest_utterances(uneven: Bench) -> None:
    """The longest is 3.78 s."""
    from asrcore.model.loader import fewest_rows

    assert fewest_rows(uneven.request("count", batch_size=8)) == 8
    assert fewest_rows(uneven.request("few", batch_seconds=16.0)) == 4
    assert fewest_rows(uneven.request("one", batch_seconds=1.0)) == 1


def test_locales_that_cannot_be_prompted_or_tagged_are_all_named_at_once(bench: Bench, tokenizer: Any) -> None:
    """Trap 3.3."""
    from asrcore.model.loader import batches

    known = {tag: slot for tag, slot in PROMPT_DICTIONARY.items() if slot not in (PROMPT_DICTIONARY["el-GR"], PROMPT_DICTIONARY["bg-BG"])}
    with pytest.raises(NotReadyError, match="tags_not_trainable") as caught:
        next(batches(bench.request("unknown"), tokenizer, known, sample_rate=16_000, skip=0))
    assert len(caught.value.problems) == 2
