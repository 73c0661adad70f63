"""Error counts against jiwer and kaldialign on 10,000 random pairs in the scripts of the model's languages.

The number of errors has one right answer. How it splits into S, D and I has not: alignments of equal cost differ. So the split must be jiwer's on
every pair, and kaldialign's wherever all alignments of the least cost agree in their substitutions (then S, D and I are all determined).
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import jiwer
import kaldialign
import numpy as np
import pytest

from asrcore.score import normalise
from asrcore.score.wer import count_errors, needs_cer, tokens

PAIRS_A_SCRIPT = 1250
ALPHABETS = {
    "en-US": "abcdefghijklmnopqrstuvwxyzéüñç",
    "el-GR": "αβγδεζηθικλμνξοπρστυφχψωάέήίόύώϊϋ",
    "bg-BG": "абвгдежзийклмнопрстуфхцчшщъьюя",
    "ar-AR": "ابتثجحخدذرزسشصضطظعغفقكلمنهويءةىأ\u064e\u064f\u0650\u0651",
    "he-IL": "אבגדהוזחטיכלמנסעפצקרשתםןץףך\u05b0\u05b8\u05bc",
    "hi-IN": "कखगघचछजटडतथदधनपफबभमयरलवशसह\u093e\u093f\u0940\u0941\u0947\u094b\u094d\u0902\u093c",
    "th-TH": "กขคงจชซญดตถทนบปผฝพฟภมยรลวสหอ\u0e31\u0e34\u0e35\u0e38\u0e49\u0e48\u0e33เแโ",
    "zh-CN": "的一是不了人我在有他这中大来上国个到说们为子和你地出道",
    "ja-JP": "あいうえおかきくけこがぎアイウエオカキクケコ今日天気",
    "ko-KR": "가나다라마바사아자차카타파하은는이가을를",
}
PAIRS = {"zh-CN": 450, "ja-JP": 400, "ko-KR": 400}  # together as many as one script


@lru_cache
def random_pairs(locale: str) -> tuple[list[str], list[str]]:
    """References of 1 to 14 words, and hypotheses of them with words changed, lost, doubled, swapped; some empty, some of another text."""
    rng = np.random.default_rng(sum(map(ord, locale)))
    letters = ALPHABETS[locale]
    vocabulary = [
        unicodedata.normalize("NFC", letters[rng.integers(20)] + "".join(rng.choice(list(letters), rng.integers(0, 4)))) for _ in range(30)
    ]
    longest = 7 if needs_cer(locale) else 15

    def sentence(least: int) -> list[str]:
        return [vocabulary[n] for n in rng.integers(len(vocabulary), size=rng.integers(least, longest))]

    def heard(words: list[str]) -> list[str]:
        if rng.random() < 0.05:
            return sentence(0)
        rate, out = rng.choice([0.0, 0.1, 0.3, 0.8]), list[str]()
        for word in words:
            luck = rng.random() / rate if rate else 1.0
            other = vocabulary[rng.integers(len(vocabulary))]
            out += [word] if luck >= 1 else [other] if luck > 0.5 else [] if luck > 0.3 else [word, other] if luck > 0.1 else [other, word]
        return out

    references = [sentence(1) for _ in range(PAIRS.get(locale, PAIRS_A_SCRIPT))]
    return [" ".join(r) for r in references], [" ".join(heard(r)) for r in references]


def substitutions_possible(reference: list[str], hypothesis: list[str]) -> tuple[int, int, int]:
    """Least number of errors, and the fewest and most substitutions that an alignment of that cost can have."""
    unit = 10_000
    ends: list[int] = []
    for price in (1, -1):  # the cost in units, and each substitution a little dearer or cheaper
        row = [j * unit for j in range(len(hypothesis) + 1)]
        for i, r in enumerate(reference, 1):
            diagonal, row[0] = row[0], i * unit
            for j, h in enumerate(hypothesis, 1):
                diagonal, row[j] = row[j], min(row[j] + unit, row[j - 1] + unit, diagonal + (unit + price if r != h else 0))
        ends.append(row[-1])
    cost = (ends[0] + unit // 2) // unit
    return cost, ends[0] - cost * unit, cost * unit - ends[1]


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("locale", ALPHABETS)
def test_counts_equal_jiwers_on_every_pair(locale: str, normalised: bool) -> None:
    references, texts = random_pairs(locale)
    counts = count_errors(references, texts, locale, normalised)
    sides = [[" ".join(tokens(text, locale, normalised)) for text in side] for side in (references, texts)]
    oracle = jiwer.process_words(*sides)
    ours = np.stack([counts.substitutions, counts.deletions, counts.insertions, counts.words], axis=1)
    theirs = [
        [sum(size(c) for c in chunks if c.type == kind) for kind, size in (("substitute", _reference), ("delete", _reference), ("insert", _hypothesis))] + [len(words)]
        for chunks, words in zip(oracle.alignments, oracle.references, strict=True)
    ]  # fmt: skip
    assert ours.tolist() == theirs
    assert counts.wer().percent == pytest.approx(100 * oracle.wer)
    assert 0.05 < oracle.wer < 0.6


def _reference(chunk: jiwer.AlignmentChunk) -> int:
    return chunk.ref_end_idx - chunk.ref_start_idx


def _hypothesis(chunk: jiwer.AlignmentChunk) -> int:
    return chunk.hyp_end_idx - chunk.hyp_start_idx


@pytest.mark.parametrize("locale", ALPHABETS)
def test_totals_equal_kaldialigns_on_every_pair_and_the_split_where_it_is_determined(locale: str) -> None:
    references, texts = random_pairs(locale)
    counts = count_errors(references, texts, locale, normalised=True)
    determined = 0
    for n, (reference, text) in enumerate(zip(references, texts, strict=True)):
        left, right = (tokens(side, locale, normalised=True) for side in (reference, text))
        oracle = kaldialign.edit_distance(left, right)
        cost, fewest, most = substitutions_possible(left, right)
        assert counts.errors[n] == oracle["total"] == cost
        assert fewest <= counts.substitutions[n] <= most
        if fewest == most:
            determined += cost > 0
            assert (counts.substitutions[n], counts.deletions[n], counts.insertions[n]) == (oracle["sub"], oracle["del"], oracle["ins"])
    assert determined > 0.3 * len(references)  # the comparison of splits is no empty one


def test_ten_thousand_pairs_take_part_and_the_normaliser_leaves_their_words_whole() -> None:
    pairs = {locale: random_pairs(locale) for locale in ALPHABETS}
    assert sum(len(references) for references, _ in pairs.values()) == 10_000
    for locale, (references, _) in pairs.items():
        assert all(len(normalise(text, locale).split()) == len(text.split()) for text in references)
