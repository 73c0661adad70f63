"""The campaign of `embedded.toml` on the embedded base, through the tools that an agent calls. All speech is synthetic.

    python -m tests.campaign.embedded HOME            all rounds, about 22 minutes on 2 cores
    python -m tests.campaign.embedded HOME --seed 1   the same with another order of data, prompts and dropout; in another HOME
    python -m tests.campaign.embedded HOME --smoke    5 steps on 8 utterances: shows that every call holds, its decisions mean nothing

Run it with `tools` on PYTHONPATH. Every stage is content-addressed, so the same command goes on where a killed one was: earlier stages are asked for
again and answer from the ledger. Before each stage a line on stdout says which it is; events of jobs go to stderr. HOME/campaign.json holds what was
decided beside what was written down. Exit code 1 when they differ.
"""

from __future__ import annotations

import argparse
import json
import math
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from asrcore import io
from asrcore.campaign import Decision
from asrcore.campaign.decide import replayed
from asrcore.campaign.evidence import Judgement, Lever
from asrcore.campaign.state import decisions_of, load_campaign
from asrcore.embedded import shipped
from asrcore.jobs import Ledger
from asrcore.manifest import Row, Utterance, kept_rows, write_manifest
from asrcore.requests import AttContext, EvalCell
from asrcore.results import Frozen
from asrcore.workspace import Config, Workspace
from asrtune.quickstart import BATCH, PEAK_LR, REPLAY_SHARE, Loop

SCRIPT = Path(__file__).with_name("embedded.toml")
CONTEXT: AttContext = (56, 0)
WRONG_TAG = "bg-BG"


class Expected(Frozen):
    """What a careful person decides after a round, and why. `rule` is a row of `asrcore.campaign.rules.LEVERS`."""

    judgement: Judgement
    lever: Lever
    rule: str
    because: str


class RoundScript(Expected):
    """One round: the first `utterances` of the telephone train set, of which the last `wrong_tags` carry another locale's tag."""

    name: str
    utterances: int = Field(ge=1)
    wrong_tags: int = Field(default=0, ge=0)
    copies: int = Field(default=1, ge=1, description="How often each recording is in the data, under ids of its own.")
    replay: bool = True
    rate: Literal["quickstart", "plan"] = "quickstart"
    steps: int = Field(ge=1)
    lever_pulled: Lever | None = Field(default=None, description="What the round changed, where it is not what was advised.")


class Script(Frozen):
    """The whole campaign as written down."""

    min_gain_points: float
    margin_points: float
    dev_utterances: int
    base: Expected
    rounds: tuple[RoundScript, ...]


class Size(NamedTuple):
    """How much of the sets and steps is used; None is all. `train` stands for the 594 utterances of the train set, smaller amounts shrink with its root."""

    train: int | None = None
    test: int | None = None
    steps: int | None = None


FULL = Size()
SMOKE = Size(train=8, test=8, steps=5)


def load_script() -> Script:
    return Script.model_validate(tomllib.loads(SCRIPT.read_text(encoding="utf-8")))


class Player:
    """Plays a script below one folder, and says each stage before it begins."""

    def __init__(self, home: Path, script: Script, size: Size, seed: int = 0) -> None:
        self.home, self.script, self.size, self.seed = home.resolve(), script, size, seed
        self.loop = Loop(Workspace(self.home / "workspace", Config(data_roots=(str(self.home),)), self.home), self.home, None)
        self.sets = shipped.unpack(self.home / "data")
        self.whole = next(facts.utterances for facts in shipped.set_facts() if facts.set == shipped.TELEPHONE_TRAIN)
        self.targets = [self.test_set(shipped.TELEPHONE_TEST)]
        self.guards = [self.test_set(name) for name in shipped.GUARDS]
        dev = kept_rows(self.sets[shipped.TELEPHONE_DEV])[: min(script.dev_utterances, size.train or script.dev_utterances)]
        self.dev = self.written("dev", [plain(row) for row in dev])
        self.replay = [self.written(f"{name}_cut", [plain(row) for row in kept_rows(self.sets[name])[: size.train]]) for name in shipped.REPLAY]

    def play(self) -> tuple[Decision, ...]:
        """All rounds; those that were played before are found again. Raises the errors of the tools."""
        targets, guards = self.measured("base", "embedded")
        say("base", "decide")
        campaign = self.loop.call(
            "start_campaign", title="Greek telephony on the embedded base (synthetic speech)", target_evals=ids(targets), guard_evals=ids(guards),
            min_gain_points=self.script.min_gain_points, margin_points=self.script.margin_points, max_rounds=len(self.script.rounds) + 1,
        ).data.campaign_id  # fmt: skip
        self.loop.call("decide_next_step", campaign_id=campaign)
        for one in self.script.rounds:
            run_id = self.trained(one)
            tuned_targets, tuned_guards = self.measured(one.name, run_id)
            say(one.name, "check_replay")
            self.loop.call("check_replay", base_evals=ids(guards), tuned_evals=ids(tuned_guards), margin_points=self.script.margin_points)
            say(one.name, "decide")
            pulled = {"lever": one.lever_pulled} if one.lever_pulled else {}
            self.loop.call("decide_next_step", campaign_id=campaign, candidate_evals=[*ids(tuned_targets), *ids(tuned_guards)], **pulled)
        with Ledger.open(self.loop.ws) as ledger:
            decisions = decisions_of(ledger, campaign)
            again = replayed(ledger, load_campaign(ledger, campaign), decisions)
        io.write_json(self.home / "campaign.json", summary(self.script, decisions, again == decisions, campaign))
        return decisions

    def trained(self, one: RoundScript) -> str:
        """The run of a round."""
        say(one.name, "shards")
        built = self.loop.job(
            "build_shards", train=[str(self.train_set(one))], replay=[str(path) for path in self.replay] if one.replay else [],
            replay_share=REPLAY_SHARE if one.replay else 0.0, seed=self.seed,
        )  # fmt: skip
        assert built.result is not None
        say(one.name, "plan")
        rate = {"peak_lr": PEAK_LR} if one.rate == "quickstart" else {}
        plan = self.loop.call(
            "plan_finetune", shards_id=built.result["shards_id"], dev_manifest=str(self.dev), max_steps=self.size.steps or one.steps, seed=self.seed, **rate
        )
        say(one.name, "train")
        ended = self.loop.job("launch_finetune", plan_id=plan.data.plan_id)
        assert ended.result is not None
        return str(ended.result["run_id"])

    def measured(self, name: str, checkpoint: str) -> tuple[list[EvalCell], list[EvalCell]]:
        """Evals on the target (with its own tag, and in auto, where wrong tags show) and on the guards."""
        say(name, "target evals")
        targets = self.evaluated(checkpoint, self.targets, ("langID", "auto"))
        say(name, "guard evals")
        return targets, self.evaluated(checkpoint, self.guards, ("langID",))

    def evaluated(self, checkpoint: str, manifests: Sequence[Path], modes: Sequence[str]) -> list[EvalCell]:
        done = self.loop.job("run_streaming_eval", checkpoint=checkpoint, manifests=[str(path) for path in manifests],
                             att_context_sizes=[list(CONTEXT)], prompt_modes=list(modes), batch_size=BATCH)  # fmt: skip
        assert done.result is not None
        return [EvalCell.model_validate(cell) for cell in done.result["cells"]]

    def train_set(self, one: RoundScript) -> Path:
        count = self.scaled(one.utterances)
        right = self.scaled(one.utterances - one.wrong_tags)
        rows = kept_rows(self.sets[shipped.TELEPHONE_TRAIN])[:count]
        made = [plain(row, copy, None if number < right else WRONG_TAG) for copy in range(one.copies) for number, row in enumerate(rows)]
        return self.written(f"telephone_{count}x{one.copies}_{count - right}_wrong", made)

    def scaled(self, utterances: int) -> int:
        """So many utterances at this size: amounts keep their order and stay apart."""
        return utterances if self.size.train is None else max(1, round(self.size.train * math.sqrt(utterances / self.whole)))

    def test_set(self, name: str) -> Path:
        if self.size.test is None:
            return self.sets[name]
        return self.written(f"{name}_{self.size.test}", [plain(row) for row in kept_rows(self.sets[name])[: self.size.test]])

    def written(self, name: str, utterances: Sequence[Utterance]) -> Path:
        """A manifest of this name below the home; the same call again writes the same bytes."""
        path = self.home / "manifests" / name / "manifest.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_manifest(path, utterances)
        return path


def plain(row: Row, copy: int = 0, tag: str | None = None) -> Utterance:
    """The row for a manifest elsewhere: absolute audio path, an id of its own for each copy, and another tag where one is given."""
    changes: dict[str, Any] = {"audio_filepath": str(row.audio.resolve())}
    if copy:
        changes["id"] = f"{row.utterance.id}-copy{copy}"
    if tag:
        changes |= {"target_lang": tag, "lang": tag}
    return row.utterance.model_copy(update=changes)


def ids(cells: Sequence[EvalCell]) -> list[str]:
    return [cell.eval_id for cell in cells]


def say(name: str, stage: str) -> None:
    print(json.dumps({"round": name, "stage": stage}), flush=True)


def differences(script: Script, decisions: Sequence[Decision]) -> list[str]:
    """Every round that was decided otherwise than written down, with both and the reasons; and rounds that are missing."""
    missing = 1 + len(script.rounds) - len(decisions)
    return [f"{missing} rounds have no decision of their own"] * (missing != 0) + [
        f"{name}: written down {wanted.judgement}, {wanted.lever} ({wanted.rule}); decided {d.judgement}, {d.lever} ({d.lever_rule}): {'; '.join(d.why)}"
        for name, wanted, d in beside(script, decisions)
        if (wanted.judgement, wanted.lever, wanted.rule) != (d.judgement, d.lever, d.lever_rule)
    ]


def beside(script: Script, decisions: Sequence[Decision]) -> Iterator[tuple[str, Expected, Decision]]:
    yield from zip(["base", *(one.name for one in script.rounds)], [script.base, *script.rounds], decisions, strict=False)


def summary(script: Script, decisions: Sequence[Decision], stands_again: bool, campaign_id: str) -> dict[str, Any]:
    """For people and for docs/log.md."""
    rounds = [
        {
            "round": name, "hours": d.round.target_hours, "judgement": d.judgement, "lever": d.lever, "rule": d.lever_rule, "why": d.why,
            "written_down": wanted.model_dump(include=set(Expected.model_fields)), "in_force": d.in_force.name, "gpu_hours": d.round.gpu_hours,
            "targets": [seen.model_dump(exclude={"words", "more_words"}) for seen in d.evidence.targets],
            "guards": d.evidence.guards.model_dump() if d.evidence.guards else None, "outlook": d.evidence.outlook.model_dump(), "evals": d.evals,
        }
        for name, wanted, d in beside(script, decisions)
    ]  # fmt: skip
    return {"synthetic": True, "campaign_id": campaign_id, "differences": differences(script, decisions), "stands_again_from_the_ledger": stands_again,
            "rounds": rounds}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true")
    asked = parser.parse_args()
    script = load_script()
    decisions = Player(asked.home, script, SMOKE if asked.smoke else FULL, asked.seed).play()
    found = [] if asked.smoke else differences(script, decisions)
    print("\n".join([*found, f"{len(decisions)} decisions, {len(found)} of them other than written down"]))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
