"""The campaign of `embedded.toml`: with a known truth in the place of the model (minutes), and on the embedded base itself (22 minutes on 2 cores)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from asrcore.campaign import Decision
from asrcore.campaign.decide import replayed
from asrcore.campaign.rules import JUDGEMENTS, LEVERS
from asrcore.campaign.state import decisions_of, load_campaign
from asrcore.embedded import shipped
from asrcore.jobs import Ledger, list_jobs
from asrcore.workspace import Config, Workspace
from tests.campaign.embedded import differences, load_script

SCRIPT = load_script()
STAND_IN = Path(__file__).parent / "stand_in"
STAGES = ("shards", "plan", "train", "target evals", "guard evals", "check_replay", "decide")
ID = re.compile(r"\b([a-z]+)_[0-9a-f]{12}\b")
Moment = tuple[str, str]
"""A round and the stage of it that is about to begin."""


def play(module: str, home: Path, kill_at: Moment | None = None) -> bool:
    """Runs the script in a process of its own, killed (SIGKILL) where it says `kill_at`; jobs that it started go on. Whether it came to its end."""
    paths = [str(STAND_IN), os.environ.get("PYTHONPATH", "")]
    with subprocess.Popen([sys.executable, "-m", module, str(home)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if kill_at and line.startswith("{") and tuple(json.loads(line).values()) == kill_at:
                process.kill()
    return process.returncode == 0


def workspace(home: Path) -> Workspace:
    return Workspace(home / "workspace", Config(data_roots=(str(home),)), home)


def decided(home: Path) -> tuple[Decision, ...]:
    """The decisions in the ledger, once they were shown to stand again from it alone."""
    with Ledger.open(workspace(home)) as ledger:
        (campaign,) = ledger.list("campaign", 10)
        decisions = decisions_of(ledger, campaign.id)
        assert replayed(ledger, load_campaign(ledger, campaign.id), decisions) == decisions
        known = {row.id for row in ledger.list("eval", 1000)}
    assert all(set(one.evals) <= known and all(one.why) for one in decisions), "every decision cites its evals and is explained"
    return decisions


def without_paths(decisions: Sequence[Decision]) -> list[Any]:
    """What two campaigns in different folders have in common: all but the folders, and the ids that are made from them, which are told apart by their order."""
    told = [(d.judgement, d.lever, d.judgement_rule, d.lever_rule, d.why, d.in_force.name, d.next_hours, d.wanted, d.evals, d.evidence, d.findings) for d in decisions]
    order: dict[str, str] = {}
    return [ID.sub(lambda found: order.setdefault(found[0], f"{found[1]} {len(order)}"), repr(one)) for one in told]


def every_stage() -> list[Moment]:
    base = [("base", "target evals"), ("base", "guard evals"), ("base", "decide")]
    return [*base, *((one.name, stage) for one in SCRIPT.rounds for stage in STAGES)]


def test_the_script_has_more_data_each_time_wrong_tags_a_forgotten_guard_and_a_plateau_and_names_rules_that_exist() -> None:
    kept = [one.utterances for one in SCRIPT.rounds if one.judgement == "promote"]
    assert len(SCRIPT.rounds) >= 4
    assert kept == sorted(set(kept))
    assert [one.name for one in SCRIPT.rounds if one.wrong_tags] == ["wrong_tags"]
    assert [one.name for one in SCRIPT.rounds if not one.replay] == ["forgotten_guard"]
    assert [one.name for one in SCRIPT.rounds if one.copies > 1] == ["plateau"]
    assert max(one.utterances for one in SCRIPT.rounds) == next(f.utterances for f in shipped.set_facts() if f.set == shipped.TELEPHONE_TRAIN)
    advised = {rule.name: rule.action for rule in LEVERS}
    for one in (SCRIPT.base, *SCRIPT.rounds):
        assert advised[one.rule] == one.lever
        assert one.judgement in {rule.action for rule in JUDGEMENTS}
        assert len(one.because.split()) > 10


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("known_truth") / "campaign"
    assert play("asrtune_stand_in", home)
    return home


@pytest.mark.slow
def test_with_a_known_truth_in_the_place_of_the_model_every_decision_is_the_one_written_down(uninterrupted: Path) -> None:
    assert differences(SCRIPT, decided(uninterrupted)) == []


@pytest.mark.slow
def test_a_process_killed_before_each_stage_of_each_round_in_turn_changes_no_decision_and_makes_no_job_twice(uninterrupted: Path, tmp_path: Path) -> None:
    home = tmp_path / "campaign"
    for moment in every_stage():
        assert not play("asrtune_stand_in", home, moment)
    assert play("asrtune_stand_in", home)
    assert without_paths(decided(home)) == without_paths(decided(uninterrupted))
    done, wanted = (sorted(job.kind for job in list_jobs(workspace(one), 1000)) for one in (home, uninterrupted))
    assert done == wanted


@pytest.mark.heavy
@pytest.mark.slow
def test_on_the_embedded_base_every_decision_is_the_one_written_down_though_the_process_is_killed_in_four_rounds(tmp_path: Path) -> None:
    home = tmp_path / "campaign"
    for moment in (("base", "guard evals"), ("wrong_tags", "target evals"), ("mended", "decide"), ("forgotten_guard", "train")):
        assert not play("tests.campaign.embedded", home, moment)
    play("tests.campaign.embedded", home)
    assert differences(SCRIPT, decided(home)) == []
