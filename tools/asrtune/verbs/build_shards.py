"""Packs training manifests, and replay manifests of the languages to keep, into tar shards to train on.

Use it after inspect_dataset and validate_language_tags, before plan_finetune; dev, test and guard sets stay manifests; overlaps with
registered ones are refused (training_overlaps). Replay gets replay_share of the training seconds, evenly over its manifests (without it other languages
are usually forgotten); with channel each utterance goes through a simulated telephone line (chains as in apply_channel; none keeps it).
It answers with a job id; the result holds the shards_id and each source's utterances, seconds and weight (unusable audio fails the job,
every line listed).
Cost: seconds of a core and up to 115 MB on disk for an hour of audio, more time with a channel; a stopped job goes on where it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from asrcore.data.channel import parse_chains, uses_noise
from asrcore.data.channel_sound import make_plan
from asrcore.data.roles import overlaps_of_training
from asrcore.data.shard_request import bytes_per_second, check_manifests, make_request, require_shards
from asrcore.data_requests import ChannelPlan, OpusKbits
from asrcore.errors import NotReadyError, Problem, UsageError
from asrcore.io import sha256_json
from asrcore.jobs import JobView, Ledger, submit
from asrcore.requests import Role
from asrcore.results import Frozen, NextAction, Result
from asrcore.workspace import Workspace

Chain = Annotated[str, Field(min_length=1, max_length=300)]


class Input(Frozen):
    train: tuple[str, ...] = Field(min_length=1, max_length=100, description="Manifests to learn from.")
    replay: tuple[str, ...] = Field((), max_length=100, description="Manifests of languages and domains to keep.")
    replay_share: float = Field(0.1, ge=0, le=0.9, allow_inf_nan=False, description="0.1 is usual.")
    alpha: float = Field(1.0, ge=0, le=1, allow_inf_nan=False, description="Locales, then sources, share by hours**alpha.")
    utterances_per_shard: int = Field(200, ge=1, le=10_000, description="About 200 mixes well.")
    readers: int = Field(1, ge=1, le=100_000, description="Workers x ranks of another loader, a shard each.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Of the order and of draws.")
    channel: tuple[Chain, ...] = Field((), max_length=8, description="Chains for the train manifests.")
    replay_channel: tuple[Chain, ...] = Field((), max_length=8, description="Chains for the replay manifests.")
    noise: str | None = Field(None, min_length=1, max_length=4096, description="Folder of noise, else pink noise.")
    shar: bool = Field(False, description="Lhotse Shar too, for twice the disk.")
    opus: OpusKbits = Field(0, description="Lossy kbit/s: less disk, 100 s of a core an hour; 0 is lossless.")
    scheduler: str = Field("", max_length=200, description="Dask scheduler that asrtune.toml names.")


Output = JobView


def run(request: Input, ws: Workspace) -> Result[Output]:
    if request.replay and request.replay_share == 0:
        raise UsageError(
            "replay_share_zero",
            "replay manifests are given but replay_share is 0.",
            next_step="pass replay_share=0.1, or leave replay out.",
        )
    channels = _channels(request, ws)
    facts = check_manifests([ws.resolve_data(p) for p in request.train], [ws.resolve_data(p) for p in request.replay], ws.data_roots)
    require_shards(facts, request.utterances_per_shard, request.readers)
    with Ledger.open(ws) as ledger:
        overlaps = overlaps_of_training(ledger, [Path(f.ref.path) for f in facts])
    if overlaps:
        raise NotReadyError("training_overlaps", f"{len(overlaps)} overlaps of training data with sets that models are measured by.",
                            next_step="take the rows out with fix_manifest or split_dataset, or register_set with allow_overlap and a person's reason.",
                            problems=overlaps)  # fmt: skip
    need_gb, budget_gb = sum(f.seconds for f in facts) * bytes_per_second(request.opus) * (1 + request.shar) / 1e9, ws.config.budgets.max_disk_gb
    if need_gb > budget_gb:
        raise UsageError("disk_budget_exceeded", f"the shards may take {need_gb:.1f} GB, the budget max_disk_gb is {budget_gb:g} GB.",
                         next_step="pass fewer manifests, or ask the person to raise max_disk_gb in asrtune.toml.")  # fmt: skip
    wanted = make_request(
        facts, request.replay_share, utterances_per_shard=request.utterances_per_shard, seed=request.seed, folder=ws.home / "shards",
        channels=channels, shar=request.shar, alpha=request.alpha, opus=request.opus, scheduler=request.scheduler,
    )  # fmt: skip
    # Whoever writes them, they are the same shards, so it is the same job.
    job = submit(ws, "build_shards", wanted, key=sha256_json({"kind": "build_shards", "request": wanted.model_dump(mode="json", exclude={"scheduler"})}))
    hours, rows = sum(f.seconds for f in facts) / 3600, sum(f.rows for f in facts)
    shards_id = wanted.out.rsplit("/", 1)[-1]
    return Result(
        summary=f"Job {job.job_id} builds {shards_id} from {rows} utterances, {hours:.2f} h, of {len(facts)} manifests; it is {job.state}.",
        data=job,
        warnings=tuple(_warnings(request, sum(f.skipped for f in facts))),
        next_actions=(NextAction(tool="get_job", arguments={"job_id": job.job_id, "wait_s": 45}, why=f"waits until {shards_id} is built"),),
    )


def _channels(request: Input, ws: Workspace) -> dict[Role, ChannelPlan | None]:
    """The plan of each role; the noise folder goes to those that have noise steps, and to somebody it must go."""
    noise = ws.resolve_data(request.noise) if request.noise else None
    asked: dict[Role, tuple[str, ...]] = {"train": request.channel, "replay": request.replay_channel}
    if request.replay_channel and not request.replay:
        raise UsageError("replay_channel_unused", "replay_channel is given, but no replay manifest.",
                         next_step="pass replay manifests, or channel for the train manifests.")  # fmt: skip
    taking = [role for role, chains in asked.items() if chains and uses_noise(parse_chains(chains))]
    # With nobody to take it, make_plan refuses the folder by name.
    return {role: make_plan(chains, noise if role in taking or (role == "train" and not taking) else None, ws.data_roots) for role, chains in asked.items()}


def _warnings(request: Input, skipped: int) -> list[Problem]:
    found: list[Problem] = []
    if not request.replay:
        found.append(Problem(code="replay_missing", message="no replay: a fine-tune on this alone usually forgets the other languages",
                             fix="pass replay manifests in the languages to keep", severity="warning"))  # fmt: skip
    if request.opus:
        found.append(Problem(code="shards_lossy", message=f"Opus at {request.opus} kbit/s: training will not hear the recordings as they are",
                             fix="leave opus out unless disk is short; compare two evals before you trust it", severity="warning"))  # fmt: skip
    if skipped:
        found.append(Problem(code="rows_skipped", message=f"{skipped} rows are marked _skipme and left out", severity="info"))
    return found
