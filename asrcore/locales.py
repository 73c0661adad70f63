"""Locales, tiers and prompt slots of the nemotron-3.5 ASR family.

Source: `DEFAULT_PROMPT_DICTIONARY` of the transformers 5.23 processor and `model_defaults.prompt_dictionary` of NeMo's prompt YAML
(121 tags, 84 slots); tiers: the model card. A checkpoint's own dictionary always wins over this table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

NUM_PROMPTS = 128
AUTO = "auto"
TRAINED_CONTEXTS: tuple[tuple[int, int], ...] = ((56, 3), (56, 0), (56, 6), (56, 13))
"""att_context_size values saved in the checkpoint; [56,1] is documented, but training never sampled it."""
DOCUMENTED_CONTEXTS: tuple[tuple[int, int], ...] = ((56, 0), (56, 1), (56, 3), (56, 6), (56, 13))
FRAME_MS = 80

_SLOTS = (
    "0 en-US en|1 en-GB enGB|2 es-ES esES|3 es-US es|4 zh-CN zh-ZH|5 zh-TW|6 hi-IN hi hi-HI|7 ar-AR ar|8 fr-FR fr|9 de-DE de|10 ja-JP ja-JA|"
    "11 ru-RU ru|12 pt-BR|13 pt-PT pt|14 ko-KR ko ko-KO|15 it-IT it|16 nl-NL nl|17 pl-PL pl|18 tr-TR tr|19 uk-UA uk|20 ro-RO ro|21 el-GR el|"
    "22 cs-CZ cs|23 hu-HU hu|24 sv-SE sv|25 da-DK da|26 fi-FI fi|27 no-NO no|28 sk-SK sk|29 hr-HR hr|30 bg-BG bg|31 lt-LT lt|32 th-TH|"
    "33 vi-VN|34 id-ID|35 ms-MY|36 bn-IN|37 ur-PK|38 fa-IR|39 ta-IN|40 te-IN|41 mr-IN|42 gu-IN|43 kn-IN|44 ml-IN|45 si-LK|46 ne-NP|47 km-KH|"
    "48 sw-KE|49 am-ET|50 ha-NG|51 zu-ZA|52 yo-NG|53 ig-NG|54 af-ZA|55 rw-RW|56 so-SO|57 ny-MW|58 ln-CD|59 or-KE|60 et-EE et|61 lv-LV lv|"
    "62 sl-SI sl|64 he-IL|65 ku-TR|66 az-AZ|67 ka-GE|68 hy-AM|69 uz-UZ|70 tg-TJ|71 ky-KG|80 qu-PE|81 ay-BO|82 gn-PY|83 nah-MX|96 mi-NZ|"
    "97 haw-US|98 sm-WS|99 to-TO|100 fr-CA|101 auto|102 mt-MT|103 nb-NO nb|104 nn-NO nn"
)

PROMPT_DICTIONARY: Mapping[str, int] = MappingProxyType(
    {tag: int(entry.split()[0]) for entry in _SLOTS.split("|") for tag in entry.split()[1:]}
)

_FULL_TAG = re.compile(r"[a-z]{2,3}-[A-Z]{2}")

Tier = Literal["ready", "broad", "adaptation", "untrained"]

_READY = "en-US en-GB es-US es-ES fr-FR fr-CA it-IT pt-BR pt-PT nl-NL de-DE tr-TR ru-RU ar-AR hi-IN ja-JP ko-KR vi-VN uk-UA"
_BROAD = "pl-PL sv-SE cs-CZ nb-NO da-DK bg-BG fi-FI hr-HR sk-SK zh-CN hu-HU ro-RO et-EE"
_ADAPTATION = "el-GR lt-LT lv-LV mt-MT sl-SI he-IL th-TH nn-NO"

_BY_TIER: tuple[tuple[Tier, str], ...] = (("ready", _READY), ("broad", _BROAD), ("adaptation", _ADAPTATION))
TIERS: Mapping[str, Tier] = MappingProxyType({tag: name for name, tags in _BY_TIER for tag in tags.split()})
TIERED: tuple[str, ...] = tuple(TIERS)
"""The 40 locales of the model card, best tier first."""


def tier(tag: str) -> Tier:
    """The card's tier of a full locale tag; tags without one count as untrained."""
    return TIERS.get(tag, "untrained")


def written_tags(prompts: Mapping[str, int]) -> dict[int, str]:
    """Slot -> the full `xx-XX` tag that a model writes in `auto`; the card's tag where a slot has several, never an alias such as `el`."""
    tags: dict[int, str] = {}
    for tag, slot in prompts.items():
        if _FULL_TAG.fullmatch(tag) and (slot not in tags or (tag in TIERS and tags[slot] not in TIERS)):
            tags[slot] = tag
    return tags


def latency_ms(att_context: tuple[int, int]) -> int:
    """Chunk length of `[left, right]`: (right + 1) frames of 80 ms."""
    return (att_context[1] + 1) * FRAME_MS
