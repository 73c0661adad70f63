"""Writes a copy of an eval set as it sounds over a simulated telephone line: band, codec, noise, room, level, lost packets.

Use it on dev, target and guard manifests when the product is served by telephone and recorded calls are too few, then register_set and
run_streaming_eval on the copy (equal ids pair it with the original); not for training data, where build_shards takes the same chains.
A chain is a preset (telephone, mobile, voip) or steps in order, as bandpass:300-3400,gsm,noise:10-20,level:-18--4,loss:0.02; ranges are drawn by id and
seed. It returns the new manifest, which records what each row drew; say "simulated" with every number. Cost: 10 to 60 s an hour of audio, 3 hours at most.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from asrcore.data.channel_set import ChannelSetReport
from asrcore.data.channel_set import apply_channel as apply
from asrcore.data.channel_sound import make_plan
from asrcore.jobs import Ledger
from asrcore.results import Artifact, Frozen, NextAction, Result
from asrcore.workspace import Workspace


class Input(Frozen):
    manifest: str = Field(min_length=1, max_length=4096, description="Manifest.")
    channel: tuple[Annotated[str, Field(min_length=1, max_length=300)], ...] = Field(
        ("telephone",), min_length=1, max_length=8, description="Of several chains each row draws one."
    )
    noise: str | None = Field(
        None, min_length=1, max_length=4096, description="Folder of noise recordings, else pink noise."
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="What each row draws.")


Output = ChannelSetReport


def run(request: Input, ws: Workspace) -> Result[Output]:
    manifest = ws.resolve_data(request.manifest)
    plan = make_plan(request.channel, ws.resolve_data(request.noise) if request.noise else None, ws.data_roots)
    assert plan is not None  # there is at least one chain
    report = apply(manifest, plan, request.seed, ws.data_roots, ws.home / "datasets")
    with Ledger.open(ws) as ledger:
        ledger.put("dataset", report.dataset_id, report)
    drawn = ", ".join(f"{rows} {name}" for name, rows in report.rows_by_chain.items())
    return Result(
        summary=f"{report.dataset_id}: {report.rows} rows, {report.hours:.2f} h, through a simulated channel ({drawn}); {report.rows_marked} marked.",
        data=report,
        next_actions=(
            NextAction(tool="inspect_dataset", arguments={"manifest": report.manifest}, why="shows true bandwidth and level of the copy"),
        ),
        artifacts=(Artifact(name="manifest", path=report.manifest, kind="manifest"),),
    )
