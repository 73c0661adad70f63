"""From manifests and a replay share to a `ShardsRequest`: checks the rows, divides the shares, names the sources, derives the id."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from asrcore.data import channel
from asrcore.data.shar import FORMAT as SHAR_FORMAT
from asrcore.data_requests import ChannelPlan, OpusKbits
from asrcore.errors import NotReadyError, Problem, UsageError
from asrcore.io import sha256_json
from asrcore.locales import AUTO
from asrcore.manifest import Below, manifest_ref, scan_rows
from asrcore.requests import ManifestRef, Role, ShardSource, ShardsRequest

FORMAT = 1
"""Raise when shards of equal input come out as other bytes; it is part of every id."""

FLAC_BYTES_PER_SECOND = 32_000
"""Upper bound for 16-bit FLAC at 16 kHz mono."""
_OPUS_MARGIN = 2.5
"""The rate of Opus varies about what was asked for: 4 s of clipped noise at 16 kbit/s took 2.2 times as much, other made-up sounds at most 1.2 times."""

KeyT = TypeVar("KeyT")

_AS_THEY_ARE: Mapping[Role, ChannelPlan | None] = {}


class ManifestFacts(NamedTuple):
    """One checked manifest. `audio_digest` is over the sizes of all audio files, which a manifest's own digest does not see."""

    ref: ManifestRef
    role: Role
    rows: int
    by_locale: Mapping[str, float]
    """Seconds of each locale."""
    skipped: int
    audio_digest: str

    @property
    def seconds(self) -> float:
        return sum(self.by_locale.values())


def check_manifests(train: Sequence[Path], replay: Sequence[Path], roots: Iterable[Path]) -> tuple[ManifestFacts, ...]:
    """Reads every manifest and looks at every audio file's size. Raises `manifest_invalid` with all problems of all of them, `manifest_twice`.

    A problem is what the manifest reader finds, `auto` as a tag, and audio that is missing or outside `roots`.
    """
    allowed, problems = Below(roots), list[Problem]()
    facts = [_check(path, "train", allowed, problems) for path in train] + [_check(path, "replay", allowed, problems) for path in replay]
    errors = [p for p in problems if p.severity == "error"]
    if errors:
        raise NotReadyError("manifest_invalid", f"{len(errors)} rows cannot go into shards (first: {errors[0].code}, {errors[0].where}).",
                            next_step="correct the rows listed in problems, or mark them with \"_skipme\": true; then call build_shards again.",
                            problems=errors)  # fmt: skip
    seen: dict[str, str] = {}
    for fact in facts:
        if fact.ref.sha256 in seen:
            raise UsageError("manifest_twice", f"{fact.ref.path} is given twice, or equals {seen[fact.ref.sha256]}.",
                             next_step="give every manifest once, as train or as replay.")  # fmt: skip
        seen[fact.ref.sha256] = fact.ref.path
    return tuple(facts)


def require_shards(facts: Sequence[ManifestFacts], utterances_per_shard: int, readers: int) -> None:
    """Raises `shards_too_few` where a source would have fewer shards than there are `readers`: workers x ranks of a loader that divides shards among them.

    Lhotse's `CutSet.from_shar(split_for_dataloading=True)` is such a one; a reader without a shard has nothing to give. Our own training and NeMo's
    tarred reader take every shard in every rank, and one is enough.
    """
    problems: list[Problem] = []
    for fact in facts:
        shards = -(-fact.rows // utterances_per_shard)
        if shards < readers:
            most = fact.rows // readers
            fix = f"pass utterances_per_shard={most}, or less" if most else f"read it with at most {fact.rows} workers x ranks"
            problems.append(Problem(code="shards_too_few", message=f"{fact.rows} rows make {shards} shards, {readers} readers need {readers}",
                                    file=fact.ref.path, fix=fix))  # fmt: skip
    if problems:
        raise UsageError("shards_too_few", f"{len(problems)} of {len(facts)} sources would have fewer shards than the {readers} readers.",
                         next_step=f"{problems[0].fix}; for shards that asrtune trains on leave readers out.", problems=problems)  # fmt: skip


def make_request(
    facts: Sequence[ManifestFacts], replay_share: float, *, utterances_per_shard: int, seed: int, folder: Path,
    channels: Mapping[Role, ChannelPlan | None] = _AS_THEY_ARE, shar: bool = False, alpha: float = 1.0, opus: OpusKbits = 0, scheduler: str = "",
) -> ShardsRequest:  # fmt: skip
    """The request, its `out` being `folder/shards_<id>`. Equal manifests, audio sizes and options give the same id, whoever writes the shards.

    `channels`: what the audio of each role goes through. `replay_share` and `alpha`: `divide_shares`. `scheduler`: whose workers write the shards.
    """
    shares = divide_shares([(f.role, f.by_locale) for f in facts], replay_share, alpha)
    names = source_names([Path(f.ref.path) for f in facts])
    sources = tuple(
        ShardSource(name=n, manifest=f.ref, role=f.role, share=s, channel=channels.get(f.role)) for n, f, s in zip(names, facts, shares, strict=True)
    )
    identity: dict[str, object] = {
        "format": FORMAT, "seed": seed, "utterances_per_shard": utterances_per_shard,
        "sources": [[s.name, s.manifest.sha256, s.role, s.share, f.audio_digest] for s, f in zip(sources, facts, strict=True)],
    }  # fmt: skip
    # Only where asked for: shards without them keep the ids they had before there were channels.
    if any(s.channel is not None for s in sources):
        identity["channels"] = [channel.identity(s.channel) for s in sources]
    if shar:
        identity["shar"] = SHAR_FORMAT
    if opus:
        identity["opus"] = opus
    out = folder / f"shards_{sha256_json(identity)[:12]}"
    return ShardsRequest(sources=sources, utterances_per_shard=utterances_per_shard, seed=seed, shar=shar, opus=opus, scheduler=scheduler, out=str(out))


def bytes_per_second(opus: OpusKbits) -> float:
    """Upper bound of what a second of audio takes in a shard: as Opus of so many kbit/s, or with 0 as FLAC."""
    return opus * 125 * _OPUS_MARGIN if opus else FLAC_BYTES_PER_SECOND


def divide_shares(sources: Sequence[tuple[Role, Mapping[str, float]]], replay_share: float, alpha: float = 1.0) -> list[float]:
    """(role, seconds of each locale) of each source -> its share of training seconds; the shares sum to 1. Without replay sources train gets all.

    Train gets 1 - `replay_share`: a locale by its hours to the power of `alpha`, and within it each source by its own, as NVIDIA weights languages, then
    corpora (Canary-1B-v2, arXiv 2509.14128). `alpha` from 0 (locales alike) to 1 (as the data is). Replay manifests share the rest
    evenly, so that a small language is not drowned.
    """
    train = [locales for role, locales in sources if role == "train"]
    replays = len(sources) - len(train)
    kept = 1 - replay_share if replays else 1.0
    hours = {locale: sum(locales.get(locale, 0.0) for locales in train) for locale in sorted(set[str]().union(*train))}
    shares = _powers(hours, alpha)
    of_source = {locale: _powers({place: locales[locale] for place, (role, locales) in enumerate(sources) if role == "train" and locale in locales}, alpha)
                 for locale in hours}  # fmt: skip
    return [
        kept * sum(shares[locale] * of_source[locale][place] for locale in locales) if role == "train" else replay_share / replays
        for place, (role, locales) in enumerate(sources)
    ]


def _powers(amounts: Mapping[KeyT, float], alpha: float) -> dict[KeyT, float]:
    """Shares that sum to 1, each by its amount to the power of `alpha`."""
    raised = {key: amount**alpha for key, amount in amounts.items()}
    return {key: value / sum(raised.values()) for key, value in raised.items()}


def source_names(paths: Sequence[Path]) -> list[str]:
    """Names for folders and counters: the file's stem, the folder's name for a plain `manifest.json`; made unique with a number."""
    names: list[str] = []
    for path in paths:
        raw = path.parent.name if path.stem == "manifest" and path.parent.name else path.stem
        # NeMo reads _OP_ and _CL_ in a path as braces.
        base = (
            re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", raw)).strip("_").replace("_OP_", "_op_").replace("_CL_", "_cl_")[:56]
            or "source"
        )
        number, name = 1, base
        while name in names:
            number += 1
            name = f"{base}_{number}"
        names.append(name)
    return names


def _check(path: Path, role: Role, allowed: Below, problems: list[Problem]) -> ManifestFacts:
    ref = manifest_ref(path)
    rows = skipped = 0
    seconds: dict[str, float] = defaultdict(float)
    digest = hashlib.sha256()
    for row in scan_rows(path, problems):
        if row.utterance.skipped:
            skipped += 1
            continue
        rows += 1
        seconds[row.utterance.target_lang] += row.utterance.duration
        if row.utterance.target_lang == AUTO:
            problems.append(Problem(code="tag_auto", message="auto is a prompt mode, not a language", file=str(path), line=row.line,
                                    fix="write the locale that is spoken"))  # fmt: skip
        if not allowed(row.audio):
            problems.append(Problem(code="audio_refused", message="the audio lies outside the data roots", file=str(path), line=row.line,
                                    fix="move it below a data root, or ask the person to add one"))  # fmt: skip
            continue
        try:
            digest.update(f"{row.line}:{row.audio.stat().st_size}\n".encode())
        except OSError:
            problems.append(Problem(code="audio_missing", message="the audio file does not exist", file=str(path), line=row.line,
                                    fix="restore the file, correct audio_filepath, or remove the row"))  # fmt: skip
    if rows == 0 and not any(p.severity == "error" and p.file == str(path) for p in problems):
        problems.append(
            Problem(code="source_empty", message="the manifest holds no row to train on", file=str(path), fix="leave this manifest out")
        )
    return ManifestFacts(ref, role, rows, seconds, skipped, digest.hexdigest())
