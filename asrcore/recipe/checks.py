"""What stands in the way of a plan. Every check returns problems; `make_plan` raises them together."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from asrcore.checkpoint import CheckpointInfo, has_adapters, tokenizer_bytes
from asrcore.errors import NotReadyError, Problem, clean_text
from asrcore.fingerprint import check_shards
from asrcore.locales import AUTO, tier, written_tags
from asrcore.manifest import NEMO_PATTERN, Row, kept_rows
from asrcore.recipe.estimates import device_memory
from asrcore.recipe.spec import Estimates, FinetuneSpec, SourceUse
from asrcore.requests import ShardsResult
from asrcore.spelling import processor
from asrcore.workspace import Workspace

FULL_CHECK_BYTES = 4_000_000_000
"""Shards up to this size are hashed for the plan (a few seconds); larger ones are hashed at launch."""
LEAST_DRAWS = 8
"""Expected utterances of a source below which it may well give nothing to a run."""
MANY_EPOCHS = 40.0


def shard_problems(shards: ShardsResult) -> tuple[list[Problem], bool]:
    """Missing, changed or unloadable shards; the flag is False when they were too large to hash here."""
    root = Path(shards.root)
    if NEMO_PATTERN.search(shards.root):
        return [Problem(code="path_not_loadable", message="NeMo's loader takes brackets in a path for a pattern", file=shards.root,
                        fix="set ASRTUNE_HOME to a folder without brackets in its path and build the shards there")], True  # fmt: skip
    files = [root / name for source in shards.sources for shard in source.shards for name in (shard.tar, shard.manifest)]
    missing = [Problem(code="file_missing", message="a file of the shards is gone", file=str(file), fix="call build_shards with the same arguments")
               for file in files if not file.is_file()]  # fmt: skip
    if missing or sum(file.stat().st_size for file in files) > FULL_CHECK_BYTES:
        return missing, bool(missing)
    return check_shards(shards), True


def dev_rows(manifest: Path) -> tuple[tuple[Row, ...], list[Problem]]:
    """The usable rows of the dev manifest, and all that is wrong with it."""
    try:
        rows = kept_rows(manifest)
    except NotReadyError as error:
        return (), list(error.problems)
    if not rows:
        return (), [
            Problem(
                code="dev_empty", message="every row of the dev manifest is marked _skipme", file=str(manifest), fix="give it rows to score"
            )
        ]
    missing = [Problem(code="audio_missing", message="the audio file does not exist", file=str(manifest), line=row.line, fix="correct audio_filepath")
               for row in rows if not row.audio.is_file()]  # fmt: skip
    return rows, missing


def tag_problems(spec: FinetuneSpec, base: CheckpointInfo, shards: ShardsResult, dev: Sequence[Row], dev_file: Path) -> list[Problem]:
    """Tags that the base does not know, never trained on, or cannot write in `auto`."""
    prompts = base.prompt_dictionary
    problems = [
        Problem(code="unknown_tag", message=f"target_lang {clean_text(row.utterance.target_lang, 20)!r} is not in the base's dictionary",
                file=str(dev_file), line=row.line, fix="correct the tag; validate_language_tags names the nearest one")
        for row in dev if row.utterance.target_lang not in prompts
    ]  # fmt: skip
    trained = sorted({locale for source in shards.sources for locale in source.seconds_by_locale})
    writable = _writable(base) if spec.prompt_mode != "langID" else None
    tags = written_tags(prompts)
    for locale in trained:
        if locale not in prompts:
            problems.append(Problem(code="unknown_tag", message=f"the shards hold {clean_text(locale, 20)!r}, which is not in the base's dictionary",
                                    fix="correct the source's tags, then build_shards again"))  # fmt: skip
            continue
        tag = tags.get(prompts[locale])
        if tag is None or tier(tag) == "untrained":
            problems.append(Problem(code="untrained_slot", severity="warning", message=f"{locale} has a slot that the base never trained",
                                    fix="expect slow learning; the nearest trained locale's tag starts far better"))  # fmt: skip
        if writable is not None and (tag is None or not writable(tag)):
            problems.append(
                Problem(
                    code="tag_not_writable",
                    message=f"the base's tokenizer cannot write the tag of {locale}",
                    fix="plan with prompt_mode langID",
                )
            )
    if spec.prompt_mode != "langID" and AUTO not in prompts:
        problems.append(Problem(code="auto_missing", message="the base has no auto slot", fix="plan with prompt_mode langID"))
    return problems


def context_problems(spec: FinetuneSpec, base: CheckpointInfo) -> list[Problem]:
    if spec.att_context_size in base.att_contexts:
        return []
    return [Problem(code="context_not_trained", message=f"att_context_size {list(spec.att_context_size)} is not among the base's "
                    f"{[list(context) for context in base.att_contexts]}", fix="plan with one of these")]  # fmt: skip


def base_problems(base: CheckpointInfo) -> list[Problem]:
    """A base that is more than its class: what moves and what is saved would no longer be what the surface says."""
    if not has_adapters(Path(base.path)):
        return []
    return [Problem(code="base_has_adapters", message="the base holds NeMo's adapters of an earlier run", fix="plan from the base that the adapters were trained on")]


def source_problems(sources: Sequence[SourceUse]) -> list[Problem]:
    """Sources that a run would hardly see (trap 3.13), see too often, or that are not there at all (trap 3.12)."""
    problems = [
        Problem(code="source_too_thin", message=f"{use.source}: about {use.expected_utterances} of its utterances would be drawn in the whole run",
                fix="more max_steps, or a larger replay_share in build_shards")
        for use in sources if use.expected_utterances < LEAST_DRAWS
    ]  # fmt: skip
    problems += [
        Problem(code="many_epochs", severity="warning", message=f"{use.source}: each utterance would be seen {use.epochs:.0f} times",
                fix="fewer max_steps, or more data")
        for use in sources if use.epochs > MANY_EPOCHS
    ]  # fmt: skip
    if not any(use.role == "replay" for use in sources):
        problems.append(Problem(code="no_replay", severity="warning", message="no replay data: other languages will be forgotten to some degree",
                                fix="build_shards with replay manifests of the languages to keep"))  # fmt: skip
    return problems


def resource_problems(ws: Workspace, estimates: Estimates) -> list[Problem]:
    """Disk, the person's disk budget, and main memory."""
    probe = next(folder for folder in (ws.home, *ws.home.parents) if folder.exists())
    free, problems = shutil.disk_usage(probe).free / 1e9, list[Problem]()
    if estimates.disk_gb > free:
        problems.append(
            Problem(
                code="disk_short",
                message=f"{estimates.disk_gb:.1f} GB needed, {free:.1f} GB free",
                file=str(ws.home),
                fix="free disk space",
            )
        )
    if estimates.disk_gb > ws.config.budgets.max_disk_gb:
        problems.append(Problem(code="disk_budget", message=f"{estimates.disk_gb:.1f} GB needed, max_disk_gb is {ws.config.budgets.max_disk_gb:g}",
                                fix="ask the person to raise max_disk_gb in asrtune.toml"))  # fmt: skip
    memory, what = device_memory()
    if memory and estimates.memory_gb > memory / 1e9:
        problems.append(Problem(code="memory_short", severity="warning", message=f"about {estimates.memory_gb:.1f} GB of memory needed, {what} is {memory / 1e9:.1f} GB",
                                fix="plan with a smaller batch_size or another surface, or cut the longest utterances"))  # fmt: skip
    return problems


def _writable(base: CheckpointInfo) -> Callable[[str], bool]:
    tokenizer = processor(tokenizer_bytes(Path(base.path)))
    unknown: int = tokenizer.unk_id()

    def writable(tag: str) -> bool:
        return unknown not in tokenizer.encode(f"<{tag}>")

    return writable
