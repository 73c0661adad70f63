"""The table of all tools, in the order of the work. Light on purpose: `asrtune --help` and the MCP handshake read only this and `schemas.json`.

Descriptions and schemas are not written here: they come from the verb modules (docstring, `Input`, `Output`) and are shipped in
`schemas.json`, which `python -m asrtune.registry --write` makes; a test fails when the file and the modules differ.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

Kind = Literal["read", "write", "job"]
Stage = Literal["Data", "Training", "Measuring", "Shipping", "Jobs and records", "This machine"]

SCHEMAS_FILE = Path(__file__).with_name("schemas.json")


class Annotations(NamedTuple):
    """The four MCP hints, always all stated: their defaults in the protocol say "destructive, open world"."""

    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool


READ = Annotations(read_only=True, destructive=False, idempotent=True, open_world=False)
READ_HUB = READ._replace(open_world=True)
"""Reads, and may fetch a base checkpoint from a model hub when the caller names one."""
ADD = Annotations(read_only=False, destructive=False, idempotent=True, open_world=False)
"""Makes new objects; the same call again finds the old ones."""


class Tool(NamedTuple):
    """One tool. `kind`: read changes nothing but caches, write makes new files, job answers at once with a job id."""

    name: str
    kind: Kind
    stage: Stage
    title: str
    summary: str
    annotations: Annotations
    examples: tuple[str, ...]
    returns_job: bool = False
    """The result is a job that can be followed (`--wait`)."""

    @property
    def command(self) -> str:
        """The name on the command line."""
        return self.name.replace("_", "-")

    @property
    def description(self) -> str:
        """What, when, when not, what comes back, cost: the docstring of the verb module."""
        return shipped()[self.name]["description"]


TOOLS: tuple[Tool, ...] = (
    Tool("doctor", "read", "This machine", "Check this machine",
         "What this machine lacks, and the fix.",
         READ, ("asrtune doctor",)),
    Tool("find_corpora", "read", "Data", "Find public corpora",
         "Public speech corpora for a locale, with sources.",
         READ, ("asrtune find-corpora el-GR",)),
    Tool("import_dataset", "write", "Data", "Import a dataset",
         "A corpus in its own layout becomes a manifest.",
         ADD._replace(open_world=True), ("asrtune import-dataset data/corpus --target-lang el-GR",)),
    Tool("inspect_dataset", "read", "Data", "Inspect a dataset",
         "Is this manifest fit for training? A verdict and the reasons.",
         READ_HUB, ("asrtune inspect-dataset data/train.jsonl",)),
    Tool("validate_language_tags", "read", "Data", "Validate language tags",
         "Does the base model know every language tag?",
         READ_HUB, ("asrtune validate-language-tags data/train.jsonl",)),
    Tool("fix_manifest", "write", "Data", "Fix a manifest",
         "Chosen fixes into a new manifest, with a diff.",
         ADD, ("asrtune fix-manifest data/train.jsonl --whitespace --unicode-nfc --mark text_empty",)),
    Tool("split_dataset", "write", "Data", "Split a dataset",
         "Train, dev and test without shared speakers or sentences.",
         ADD, ("asrtune split-dataset data/all.jsonl --dev-share 0.05 --test-share 0.1",)),
    Tool("register_set", "write", "Data", "Register a set's role",
         "Train, replay, dev, target, guard or blind; no overlaps.",
         ADD, ("asrtune register-set data/test.jsonl target",)),
    Tool("apply_channel", "write", "Data", "Apply a simulated channel",
         "A telephone copy of an eval set: band, codec, noise, loss.",
         ADD, ("asrtune apply-channel data/test.jsonl --channel telephone",)),
    Tool("build_shards", "job", "Data", "Build training shards",
         "Pack train and replay manifests into verified tar shards.",
         ADD, ("asrtune build-shards data/train.jsonl --replay data/replay.jsonl --replay-share 0.2 --wait",), returns_job=True),
    Tool("plan_finetune", "read", "Training", "Plan a fine-tune",
         "Dry run: recipe, steps, memory, disk, time; a plan id.",
         READ_HUB, ("asrtune plan-finetune shards_0123456789ab data/dev.jsonl --att-context-size 56,0",)),
    Tool("launch_finetune", "job", "Training", "Launch a planned fine-tune",
         "Start exactly the training that a plan showed.",
         ADD._replace(idempotent=False), ("asrtune launch-finetune plan_0123456789ab --wait",), returns_job=True),
    Tool("get_job", "read", "Jobs and records", "Look at a job",
         "Progress, time left, health and log of one job.",
         READ, ("asrtune get-job job_0123456789ab --wait-s 30",), returns_job=True),
    Tool("cancel_job", "write", "Jobs and records", "Cancel a job",
         "Stop a job; a training writes a checkpoint first.",
         Annotations(read_only=False, destructive=True, idempotent=True, open_world=False), ("asrtune cancel-job job_0123456789ab",)),
    Tool("resume_job", "write", "Jobs and records", "Resume a job",
         "Go on with a stopped job from its last checkpoint.",
         ADD, ("asrtune resume-job job_0123456789ab --wait",), returns_job=True),
    Tool("list_objects", "read", "Jobs and records", "List objects",
         "What there is of one kind, newest first.",
         READ, ("asrtune list-objects run --limit 5",)),
    Tool("run_streaming_eval", "job", "Measuring", "Run a streaming evaluation",
         "Decode chunk by chunk and score, per set and latency.",
         ADD, ("asrtune run-streaming-eval embedded data/test.jsonl --att-context-sizes 56,0 --prompt-modes langID --wait",), returns_job=True),
    Tool("score_hypotheses", "write", "Measuring", "Score another system's transcripts",
         "A peer's hypotheses file under the same scorer.",
         ADD, ("asrtune score-hypotheses data/test.jsonl data/whisper.jsonl whisper-base --att-context-size 56,0",)),
    Tool("compare_models", "read", "Measuring", "Compare two evaluations",
         "Two evals of one set: better, worse or inconclusive.",
         READ, ("asrtune compare-models eval_0123456789ab eval_ba9876543210",)),
    Tool("check_replay", "read", "Measuring", "Check for forgetting",
         "Were the other languages kept or forgotten?",
         READ, ("asrtune check-replay --base-evals eval_0123456789ab --tuned-evals eval_ba9876543210 --margin-points 3",)),
    Tool("start_campaign", "write", "Measuring", "Start a campaign",
         "Targets, guards, goal and budget of a loop of rounds.",
         ADD, ("asrtune start-campaign 'Greek telephony' eval_0123456789ab --guard-evals eval_ba9876543210 --goal-percent 12",)),
    Tool("decide_next_step", "write", "Measuring", "Decide the next step",
         "Promote or reject the candidate, and what to do next.",
         ADD, ("asrtune decide-next-step campaign_0123456789ab --candidate-evals eval_0123456789ab",)),
    Tool("add_locale", "job", "Training", "Add a locale to a base",
         "A prompt slot for a language the base never saw.",
         READ_HUB._replace(read_only=False), ("asrtune add-locale se-NO fi-FI data/train.jsonl --wait",), returns_job=True),
    Tool("blend_checkpoints", "job", "Training", "Blend checkpoints",
         "Points between a base and tuned checkpoints; averages.",
         ADD, ("asrtune blend-checkpoints embedded run_0123456789ab --alphas 0.5 --alphas 0.75 --wait",), returns_job=True),
    Tool("export_model", "job", "Shipping", "Export a model",
         "Write the model for deployment, proven on a smoke set.",
         ADD, ("asrtune export-model run_0123456789ab data/smoke.jsonl --wait",), returns_job=True),
    Tool("transcribe", "job", "Shipping", "Transcribe audio files",
         "Files to timed text: JSON, SRT, VTT, TXT.",
         ADD, ("asrtune transcribe run_0123456789ab calls/ --language el-GR --formats srt --wait",), returns_job=True),
    Tool("make_report", "write", "Shipping", "Make a report",
         "One HTML page with the numbers and plots.",
         ADD, ("asrtune make-report 'Greek telephony' --base-evals eval_0123456789ab --tuned-evals eval_ba9876543210",)),
)  # fmt: skip

NAMES: tuple[str, ...] = tuple(t.name for t in TOOLS)
_BY_NAME = {t.name: t for t in TOOLS}


def tool(name: str) -> Tool:
    """One entry; KeyError for an unknown name."""
    return _BY_NAME[name]


@cache
def shipped() -> dict[str, dict[str, Any]]:
    """`schemas.json`: tool -> {description, input_schema, output_schema}. One object is shared: callers do not change it."""
    return json.loads(SCHEMAS_FILE.read_text(encoding="utf-8"))
