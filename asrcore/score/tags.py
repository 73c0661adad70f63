"""Locale tags in transcripts.

In `auto` mode the model writes `<el-GR>` as ordinary text. A tag left in the hypothesis counts as a word (12.26 % for a true 2.82 %, trap 3.7),
and NeMo's default pattern misses three-letter codes such as `<haw-US>`.
"""

from __future__ import annotations

import re

from asrcore.text import LOCALE_TAG

TAG = re.compile(rf"\s*({LOCALE_TAG.pattern})\s*")
"""Two- or three-letter language, two-letter region in any case: the union of NeMo 3.0's pattern and the transformers processor's."""


def strip_tags(text: str) -> tuple[str, str | None]:
    """`text` without its locale tags, and the last tag (`el-GR`, no brackets) or None. Other angle brackets stay."""
    if "<" not in text:
        return text, None
    tags = TAG.findall(text)
    return (TAG.sub(" ", text).strip(), tags[-1].strip("<>")) if tags else (text, None)
