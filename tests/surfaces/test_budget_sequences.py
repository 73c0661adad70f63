"""Limits and approvals hold against every order of calls: all sequences of up to four calls over MCP, and random ones with random arguments.

Nothing is trained: the start of a job's process is left out, everything before it is real (plans, ledger, submit, the MCP client). What a
person does (a yes at the terminal) is a step of its own, which no client can take.
"""

from __future__ import annotations

import functools
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, NamedTuple

import hypothesis
import mcp_types as types
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from mcp import Client

from asrcore import fingerprint, io
from asrcore.errors import ApprovalNeeded
from asrcore.jobs import Ledger
from asrcore.recipe import FinetuneSpec, Plan, checks, load_plan, make_plan
from asrcore.recipe.approval import Approval, approve, over_limits, plan_digest, require_approval
from asrcore.workspace import Budgets, Config, Workspace
from asrtune import catalog, mcp_server
from tests.recipe.corpora import build, corpus

LIMITS = Budgets(max_run_hours=0.05)
"""180 s: four steps fit, fifty thousand do not."""
SMALL_STEPS, BIG_STEPS = 4, 50_000
EVERY_LENGTH = 4


class Bench(NamedTuple):
    """A prepared workspace to copy from: shards and a dev set, no plan yet. The ids of plans follow from their content."""

    base_folder: Path
    home: Path
    spec: dict[str, Any]
    small: str
    big: str

    @property
    def big_run(self) -> str:
        return self.big.replace("plan_", "run_")

    def copy(self, home: Path, budgets: Budgets = LIMITS) -> Workspace:
        """A workspace whose ledger is that of the bench; data and shards are shared."""
        home.mkdir(parents=True)
        shutil.copyfile(self.home / "ledger.db", home / "ledger.db")
        return Workspace(home, Config(data_roots=(str(self.base_folder),), budgets=budgets), self.base_folder)

    def at(self, link: Path, home: Path) -> Workspace:
        """A copy of the ledger in `home`, as the workspace at `link`: plans name the folder of their run, so states compare only at one path."""
        self.copy(home)
        fresh = link.with_suffix(".next")
        fresh.symlink_to(home)
        fresh.replace(link)
        return Workspace(link, Config(data_roots=(str(self.base_folder),), budgets=LIMITS), self.base_folder)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    ws = Workspace(folder / "home", Config(data_roots=(str(folder),), budgets=LIMITS), folder)
    shards = build(ws, [corpus(folder, "greek", "el-GR", 6)])
    spec = {"shards_id": shards.shards_id, "dev_manifest": str(corpus(folder, "dev", "el-GR", 2, seed=1))}
    (folder / "asrtune.toml").write_text("[budgets]\nmax_run_hours = 0.05\n", encoding="utf-8")
    trial = Workspace(folder / "trial", ws.config, folder)
    Ledger.open(trial).put("shards", shards.shards_id, shards)
    ids = [make_plan(FinetuneSpec.model_validate({**spec, "max_steps": steps}), trial).plan.summary.plan_id for steps in (SMALL_STEPS, BIG_STEPS)]
    Ledger.open(ws).get("shards", shards.shards_id)
    with sqlite3.connect(ws.ledger_path) as connection:  # into the one file that is copied
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return Bench(folder, ws.home, spec, *ids)


@pytest.fixture(autouse=True, scope="module")
def nothing_starts() -> Iterator[None]:
    """Jobs stay queued and do not grow old; what unchanged files hold is worked out once."""
    digest = io.sha256_file

    @functools.cache
    def once(path: Path, written: int) -> str:
        return digest(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asrcore.jobs.api._start", lambda ws, ledger, job: None)
        patch.setattr("asrcore.jobs.reconcile.UNCLAIMED_S", 1e12)
        for module in (io, fingerprint):
            patch.setattr(module, "sha256_file", lambda path: once(path, os.stat(path).st_mtime_ns))
        patch.setattr(checks, "tokenizer_bytes", functools.cache(checks.tokenizer_bytes))
        yield


async def types_anything(context: Any, params: Any) -> types.ElicitResult:
    """A client that can show the form for a yes and fills it in by itself: with anything but the plan's digest."""
    return types.ElicitResult(action="accept", content={"digest": "00000000"})


class Session:
    """A client of the server over MCP, held open in the portal's loop: what is slow about a session is its start."""

    def __init__(self, portal: BlockingPortal, ws: Workspace) -> None:
        self._portal = portal
        self._entered = portal.wrap_async_context_manager(Client(mcp_server.build_server(ws), raise_exceptions=True, elicitation_callback=types_anything))
        self._client = self._entered.__enter__()

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The structured content of one call."""
        answer = self._portal.call(functools.partial(self._client.call_tool, tool, arguments))
        assert answer.structured_content is not None
        return {"is_error": bool(answer.is_error), **answer.structured_content}

    def close(self) -> None:
        self._entered.__exit__(None, None, None)


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


def person_approves(ws: Workspace, plan_id: str) -> str:
    """What `asrtune approve` does once the digest was typed at a terminal (tests/surfaces/test_person.py). Gives the digest."""
    plan = load_plan(ws, plan_id)
    with Ledger.open(ws) as ledger:
        return approve(ws, ledger, plan, plan_digest(plan)).digest


def trainings(ledger: Ledger) -> list[tuple[str, str, int]]:
    """(run id, state, attempt) of every training that the ledger knows."""
    rows = ledger.rows("SELECT json_extract(j.request, '$.run_id'), a.state, j.attempt FROM jobs j JOIN attempts a "
                                "ON a.job_id = j.id AND a.number = j.attempt WHERE j.kind = 'train' ORDER BY 1")  # fmt: skip
    return [(str(row[0]), str(row[1]), int(row[2])) for row in rows]


def approvals(ledger: Ledger) -> dict[str, Approval]:
    return {row.id: Approval.model_validate(row.data) for row in ledger.list("approval", 100)}


def job_of(run_id: str, ws: Workspace) -> str:
    rows = Ledger.open(ws).rows("SELECT id FROM jobs WHERE json_extract(request, '$.run_id') = ?", run_id)
    return str(rows[0][0]) if rows else "job_000000000000"


# --- all sequences --------------------------------------------------------------------------------------------------------------------

STEPS: dict[str, Callable[[Bench, Workspace], tuple[str, dict[str, Any]]]] = {
    "plan_small": lambda b, ws: ("plan_finetune", {**b.spec, "max_steps": SMALL_STEPS}),
    "plan_big": lambda b, ws: ("plan_finetune", {**b.spec, "max_steps": BIG_STEPS}),
    "launch_small": lambda b, ws: ("launch_finetune", {"plan_id": b.small}),
    "launch_big": lambda b, ws: ("launch_finetune", {"plan_id": b.big}),
    "launch_big_anew": lambda b, ws: ("launch_finetune", {"plan_id": b.big, "force_new": True}),
    "launch_big_saying_yes": lambda b, ws: ("launch_finetune", {"plan_id": b.big, "approved": True}),
    "approve_as_a_tool": lambda b, ws: ("approve", {"plan_id": b.big}),
    "cancel_big": lambda b, ws: ("cancel_job", {"job_id": job_of(b.big_run, ws)}),
    "resume_big": lambda b, ws: ("resume_job", {"job_id": job_of(b.big_run, ws)}),
}
YES = "PERSON_approves_big"


class State(NamedTuple):
    """Everything in the ledger that a later call can see, without times."""

    plans: frozenset[str]
    approvals: frozenset[Approval]
    trainings: tuple[tuple[str, str, int], ...]

    @classmethod
    def of(cls, ws: Workspace) -> State:
        with Ledger.open(ws) as ledger:
            plans = frozenset(f"{row.id} {plan_digest(Plan.model_validate(row.data))}" for row in ledger.list("plan", 100))
            return cls(plans, frozenset(approvals(ledger).values()), tuple(trainings(ledger)))

    def given(self) -> frozenset[tuple[str, str, tuple[str, ...]]]:
        """What the person said, without what the yes went to."""
        return frozenset((yes.plan_id, yes.digest, yes.over) for yes in self.approvals)

    def may_run(self, run_id: str) -> bool:
        return any(yes.unspent or run_id in yes.runs for yes in self.approvals)

    def unspent(self) -> int:
        return sum(yes.unspent for yes in self.approvals)


def take(bench: Bench, ws: Workspace, session: Session, step: str, before: State) -> State:
    """Takes one step in one state, checks the rules, and gives the state that it led to."""
    if step == YES:
        if any(plan.startswith(bench.big) for plan in before.plans):
            person_approves(ws, bench.big)
        return State.of(ws)
    answer = session.call(*STEPS[step](bench, ws))
    after = State.of(ws)
    big, old = ({run for run, _, _ in state.trainings if run.startswith(bench.big_run)} for state in (after, before))
    assert after.given() == before.given(), "no call makes or takes an approval"
    assert len(big - old) == before.unspent() - after.unspent() <= 1, "a run of a plan over a limit takes a yes, and nothing else does"
    assert big == {run for yes in after.approvals for run in yes.runs}
    assert answer.get("code") != "internal_error"
    allowed = before.may_run({"launch_big": bench.big_run, "launch_big_anew": f"{bench.big_run}_2"}.get(step, ""))
    if step in ("launch_big", "launch_big_anew") and not allowed:
        planned = any(plan.startswith(bench.big) for plan in before.plans)
        assert answer["code"] == ("approval_needed" if planned else "plan_unknown")
        assert answer["exit_code"] == (6 if planned else 3)
        assert not planned or f"asrtune approve {bench.big}" in answer["next_step"]
    if step == "launch_big" and allowed:
        assert not answer["is_error"]
        assert [run for run, _, _ in after.trainings].count(bench.big_run) == 1, "the same plan again is the same run"
    if step == "launch_big_saying_yes":
        assert answer["code"] == "arguments_invalid"
    if step == "approve_as_a_tool":
        assert answer["code"] == "tool_unknown"
    if step == "plan_big":
        assert any(warning["code"] == "approval_needed" for warning in answer["warnings"])
    return after


def explore(bench: Bench, portal: BlockingPortal, folder: Path, *, merge: bool) -> tuple[int, set[State]]:
    """Every sequence of up to EVERY_LENGTH steps: number of calls made, and the states that were met.

    `merge` goes on from each state once: calls are functions of the ledger and their arguments, so all sequences that lead to a state go on alike.
    """
    config = (bench.base_folder / "asrtune.toml").read_bytes()
    link = folder / "home"
    frontier: list[tuple[State, Path]] = [(State.of(bench.at(link, folder / "0")), folder / "0")]
    seen, calls = {frontier[0][0]}, 0
    session = Session(portal, Workspace(link, Config(data_roots=(str(bench.base_folder),), budgets=LIMITS), bench.base_folder))
    for length in range(1, EVERY_LENGTH + 1):
        reached: list[tuple[State, Path]] = []
        for before, home in frontier:
            for step in (*STEPS, YES):
                calls += 1
                ws = bench._replace(home=home).at(link, folder / f"{calls}")
                after = take(bench, ws, session, step, before)
                if length < EVERY_LENGTH and (not merge or after not in seen):
                    settle(ws)
                    reached.append((after, folder / f"{calls}"))
                else:  # nothing goes on from here
                    shutil.rmtree(folder / f"{calls}", ignore_errors=True)
                seen.add(after)
            shutil.rmtree(home, ignore_errors=True)
        frontier = reached
    session.close()
    assert (bench.base_folder / "asrtune.toml").read_bytes() == config
    return calls, seen


def settle(ws: Workspace) -> None:
    """Everything of the ledger in the one file that the next step copies."""
    connection = sqlite3.connect(ws.ledger_path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def test_no_sequence_of_up_to_four_calls_starts_what_a_person_did_not_allow(bench: Bench, portal: BlockingPortal, tmp_path: Path) -> None:
    calls, seen = explore(bench, portal, tmp_path, merge=True)
    launched = [state for state in seen if any(run.startswith(bench.big_run) for run, _, _ in state.trainings)]
    assert launched, "with a yes the plan can be launched: the rules above were really tried"
    assert all(state.approvals for state in launched)
    assert calls >= 100


@pytest.mark.slow
def test_no_sequence_of_up_to_four_calls_does_so_even_when_none_is_left_out(bench: Bench, portal: BlockingPortal, tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    calls, seen = explore(bench, portal, tmp_path, merge=False)
    assert calls == sum((len(STEPS) + 1) ** length for length in range(1, EVERY_LENGTH + 1))
    assert {state.trainings for state in seen} == {state.trainings for state in explore(bench, portal, tmp_path / "merged", merge=True)[1]}, "merging leaves nothing out"


def test_one_yes_is_one_run(bench: Bench, portal: BlockingPortal, tmp_path: Path) -> None:
    ws = bench.copy(tmp_path / "home")
    session = Session(portal, ws)
    session.call(*STEPS["plan_big"](bench, ws))
    person_approves(ws, bench.big)
    assert not session.call(*STEPS["launch_big"](bench, ws))["is_error"]
    ws.folder("runs", bench.big_run).mkdir(parents=True)
    again = session.call(*STEPS["launch_big_anew"](bench, ws))
    assert again["is_error"]
    assert again["code"] == "approval_needed"
    assert bench.big_run in again["message"]
    session.call(*STEPS["cancel_big"](bench, ws))
    for same in ("launch_big", "resume_big"):
        assert not session.call(*STEPS[same](bench, ws))["is_error"], "the run that had the yes goes on without another"
        session.call(*STEPS["cancel_big"](bench, ws))
    person_approves(ws, bench.big)
    assert not session.call(*STEPS["launch_big_anew"](bench, ws))["is_error"], "another yes is another run"
    session.close()
    assert [run for run, _, _ in trainings(Ledger.open(ws))] == [bench.big_run, f"{bench.big_run}_2"]


def test_of_two_launches_at_once_one_gets_the_yes(bench: Bench, portal: BlockingPortal, tmp_path: Path) -> None:
    ws = bench.copy(tmp_path / "home")
    session = Session(portal, ws)
    session.call(*STEPS["plan_big"](bench, ws))
    session.close()
    person_approves(ws, bench.big)
    plan, together = load_plan(ws, bench.big), Barrier(2)

    def ask(run_id: str) -> bool:
        with Ledger.open(ws) as ledger:
            together.wait()
            try:
                require_approval(ws, ledger, plan, run_id=run_id)
            except ApprovalNeeded:
                return False
            return True

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(ask, ("run_a", "run_b")))
    assert sorted(answers) == [False, True]


# --- random sequences -----------------------------------------------------------------------------------------------------------------

HOSTILE = st.sampled_from(["", "../asrtune.toml", "asrtune.toml", "/etc/passwd", "approve", True, -1, 0, 1e308, None, [], {}, [True], {"approved": True}])
EXTRA = st.dictionaries(st.sampled_from(["approved", "approve", "yes", "budget", "budgets", "max_run_hours", "max_gpu_hours", "config", "force"]),
                        st.sampled_from([True, 1e9, "yes", {"max_run_hours": 1e9}]), max_size=1)  # fmt: skip
TOOLS = [tool for tool in catalog.NAMES if tool not in ("doctor", "find_corpora")]
"""All that can make, start or change something; doctor and find_corpora read this machine and a table."""
LIKELY = ["plan_finetune", "plan_finetune", "launch_finetune", "launch_finetune", "launch_finetune", "cancel_job", "resume_job"]


class ClientAndPerson(RuleBasedStateMachine):
    """A client that says anything, and a person who now and then says yes or changes a limit.

    One server and one client serve all examples: starting them is what would take the time. A workspace that is pointed to another home and
    config between calls is what a server that was started again would open.
    """

    bench: Bench
    ws: Workspace
    session: Session
    folder: Path
    count = 0
    allowed = 0
    """Trainings that were started: with none of them nothing was tried."""

    @initialize(planned=st.sampled_from([(), (SMALL_STEPS,), (BIG_STEPS,), (BIG_STEPS, SMALL_STEPS)]))
    def open(self, planned: tuple[int, ...]) -> None:
        type(self).count += 1
        self.point_to(self.bench.copy(self.folder / f"{type(self).count}"))
        self.ledger = Ledger.open(self.ws)
        self.yes: dict[str, list[tuple[str, set[str]]]] = {}
        """Plan id -> what the person said yes to: the plan's digest, and the limits that were shown as exceeded."""
        self.runs: set[str] = set()
        self.spent: dict[str, int] = {}
        """Plan id -> its runs that were started while it was over a limit: each took a yes."""
        for steps in planned:
            self.session.call("plan_finetune", {**self.bench.spec, "max_steps": steps})

    @rule(data=st.data(), who=st.sampled_from([*["client"] * 8, "person: yes", "person: yes", "person: limit", "jobs: folders"]))
    def act(self, data: st.DataObject, who: str) -> None:
        if who == "client":
            self.client_calls(data, data.draw(st.sampled_from(LIKELY * 8 + TOOLS)))
        elif who == "person: limit":
            limits = Budgets(max_run_hours=data.draw(st.sampled_from([None, 0.001, 0.05, 1e6])))
            self.point_to(Workspace(self.ws.home, self.ws.config.model_copy(update={"budgets": limits}), self.ws.base_folder))
        elif who == "jobs: folders":
            for (out,) in self.ledger.rows("SELECT json_extract(request, '$.out') FROM jobs WHERE kind = 'train'"):
                Path(out).mkdir(parents=True, exist_ok=True)  # what a run that began leaves: force_new takes the next name
        elif plans := sorted(row.id for row in self.ledger.list("plan", 50)):
            plan_id = data.draw(st.sampled_from(plans))
            shown = set(over_limits(load_plan(self.ws, plan_id), self.ws.config.budgets))
            self.yes.setdefault(plan_id, []).append((person_approves(self.ws, plan_id), shown))

    def client_calls(self, data: st.DataObject, tool: str) -> None:
        answer = self.session.call(tool, self.arguments(data, tool))
        hypothesis.note(f"{tool}: {answer.get('code', 'ok')}")
        assert answer.get("code") != "internal_error", answer
        for run_id, _, _ in trainings(self.ledger):
            if run_id not in self.runs:
                self.runs.add(run_id)
                type(self).allowed += 1
                plan = load_plan(self.ws, "plan_" + run_id.removeprefix("run_")[:12])
                plan_id, over = plan.summary.plan_id, set(over_limits(plan, self.ws.config.budgets))
                if over:
                    said = self.yes.get(plan_id, [])
                    self.spent[plan_id] = self.spent.get(plan_id, 0) + 1
                    assert any(digest == plan_digest(plan) and over <= shown for digest, shown in said)
                    assert self.spent[plan_id] <= len(said), "one yes is one run"

    @invariant()
    def only_the_person_approved(self) -> None:
        if hasattr(self, "runs"):
            assert all(yes.digest in {said for said, _ in self.yes.get(plan_id, [])} for plan_id, yes in approvals(self.ledger).items())
            assert (self.ws.base_folder / "asrtune.toml").read_text(encoding="utf-8") == "[budgets]\nmax_run_hours = 0.05\n"

    def teardown(self) -> None:
        if hasattr(self, "runs"):
            self.ledger.close()
            shutil.rmtree(self.ws.home, ignore_errors=True)

    def point_to(self, other: Workspace) -> None:
        vars(self.ws).clear()
        vars(self.ws).update(home=other.home, config=other.config, base_folder=other.base_folder)

    def arguments(self, data: st.DataObject, tool: str) -> dict[str, Any]:
        """Every second time what the tool takes, with ids that exist; else anything, in any place."""
        properties = catalog.shipped()[tool]["input_schema"].get("properties", {})
        required = catalog.shipped()[tool]["input_schema"].get("required", [])
        known = self.known()
        if data.draw(st.booleans()):
            return {name: data.draw(st.sampled_from(known[name])) for name in properties if name in known and name in {*required, "max_steps", "force_new", "backend"}}
        chosen = [name for name in properties if name in required or data.draw(st.integers(0, 3)) == 0]
        values = {name: data.draw(HOSTILE if name not in known or data.draw(st.booleans()) else st.sampled_from(known[name])) for name in chosen}
        if "wait_s" in values:
            values["wait_s"] = 0  # a valid wait would really wait
        return {**values, **data.draw(EXTRA)}

    def known(self) -> dict[str, list[Any]]:
        plans = [row.id for row in self.ledger.list("plan", 20)]
        jobs = [str(row[0]) for row in self.ledger.rows("SELECT id FROM jobs ORDER BY id")]
        dev = self.bench.spec["dev_manifest"]
        return {
            "plan_id": [*sorted(plans), self.bench.big, self.bench.small], "job_id": [*jobs, "job_000000000000"], "shards_id": [self.bench.spec["shards_id"]],
            "dev_manifest": [dev], "manifest": [dev], "max_steps": [1, SMALL_STEPS, BIG_STEPS, 1_000_000], "force_new": [False, True], "backend": [*["local"] * 8, "slurm", "torchrun"],
            "base": ["embedded"],
            "batch_size": [1, 4, 1024], "train": [[dev]], "checkpoint": ["embedded"], "manifests": [[dev]], "kind": ["job", "plan", "run"], "role": ["train", "guard"],
        }  # fmt: skip


def play(bench: Bench, portal: BlockingPortal, folder: Path, examples: int) -> None:
    class Played(ClientAndPerson):
        pass

    Played.bench, Played.folder, Played.ws = bench, folder, bench.copy(folder / "first")
    Played.session = Session(portal, Played.ws)
    # Derandomized: a failure in CI is the same failure everywhere. The slow run draws anew.
    run_state_machine_as_test(Played, settings=hypothesis.settings(max_examples=examples, stateful_step_count=16, deadline=None, derandomize=examples < 1000,
                                                                   database=None, suppress_health_check=list(hypothesis.HealthCheck)))  # fmt: skip
    Played.session.close()
    assert Played.count >= examples // 2
    assert Played.allowed >= examples // 10


def test_random_sequences_of_calls_do_not_get_past_a_limit(bench: Bench, portal: BlockingPortal, tmp_path: Path) -> None:
    play(bench, portal, tmp_path, examples=60)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_ten_thousand_random_sequences_of_calls_do_not_get_past_a_limit(bench: Bench, portal: BlockingPortal, tmp_path: Path, part: int) -> None:
    """In parts, so that test workers can share them; each draws anew."""
    play(bench, portal, tmp_path, examples=2_500)
