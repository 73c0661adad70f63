"""Somebody is told when a job ends, loses its supervisor or looks ill, and when a plan waits: once, without text from data, and without any
effect on the job when telling fails."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from asrcore.errors import UsageError
from asrcore.jobs import Ledger, ask_for_yes, submit
from asrcore.jobs.notify import Notice, notify
from asrcore.workspace import Notify, load_config


class Receiver:
    """A webhook on this host: keeps bodies, answers with the given codes and then 200."""

    def __init__(self, answers: list[int]) -> None:
        receiver, self.bodies, self.told, self.more = self, list[dict[str, Any]](), threading.Event(), threading.Condition()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with receiver.more:
                    receiver.bodies.append(body)
                    receiver.more.notify_all()
                code = answers.pop(0) if answers else 200
                self.send_response(code)
                self.end_headers()
                if code < 500:
                    receiver.told.set()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def heard(self, number: int) -> list[tuple[str, str, str | None]]:
        """(event, state, code) of the first `number` notices, sorted; two processes may tell at once."""
        with self.more:
            assert self.more.wait_for(lambda: len(self.bodies) >= number, 60), self.bodies
        return sorted((body["event"], body["state"], body["code"]) for body in self.bodies)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook"


@pytest.fixture
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    receiver = Receiver(list(getattr(request, "param", [])))
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def ended(state: str) -> Notice:
    return Notice(event="job_ended", job_id="job_1", kind="train", attempt=1, state=state, code="x", time=datetime(2026, 1, 1, tzinfo=UTC))


def configure(jobs: Any, text: str) -> None:
    (jobs.ws.base_folder / "asrtune.toml").write_text(f"[notify]\n{text}\n", encoding="utf-8")


@pytest.mark.parametrize(("do", "state", "code"), [("finish", "succeeded", None), ("error", "failed", "manifest_invalid")])
def test_the_webhook_gets_the_end_of_a_job_once(jobs: Any, receiver: Receiver, do: str, state: str, code: str | None) -> None:
    configure(jobs, f'webhook = "{receiver.url}"')
    job_id = submit(jobs.ws, "probe", jobs.request(do)).job_id
    jobs.ended(job_id)
    assert receiver.told.wait(60)
    (body,) = receiver.bodies
    assert {name: body[name] for name in ("event", "job_id", "kind", "attempt", "state", "code")} == {
        "event": "job_ended", "job_id": job_id, "kind": "probe", "attempt": 1, "state": state, "code": code,
    }  # fmt: skip


@pytest.mark.parametrize("receiver", [[503]], indirect=True)
def test_a_webhook_that_is_down_for_a_moment_is_asked_again(jobs: Any, receiver: Receiver) -> None:
    configure(jobs, f'webhook = "{receiver.url}"')
    assert jobs.ended(submit(jobs.ws, "probe", jobs.request("finish")).job_id).state == "succeeded"
    assert receiver.told.wait(60)
    assert len(receiver.bodies) == 2


def test_the_command_gets_the_notice_on_its_stdin_and_no_shell_reads_it(jobs: Any, tmp_path: Path) -> None:
    out = tmp_path / "told; rm -rf .json"
    program = (sys.executable, "-c", "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())", str(out))
    notice = ended("failed")
    assert notify(Notify(command=program), notice, lambda seconds: None) == []
    assert Notice.model_validate_json(out.read_bytes()) == notice


def test_whoever_notices_tells_of_a_killed_supervisor_and_of_the_end_it_missed(jobs: Any, receiver: Receiver) -> None:
    configure(jobs, f'webhook = "{receiver.url}"')
    job_id = submit(jobs.ws, "probe", jobs.request("wait")).job_id
    jobs.at_gate(job_id)
    jobs.supervisor(job_id).send(signal.SIGKILL)
    jobs.until(job_id, lambda view: view.state == "orphaned")
    assert receiver.heard(1) == [("job_orphaned", "orphaned", None)]
    jobs.child(job_id).send(signal.SIGKILL)
    assert jobs.ended(job_id).state == "lost"
    assert receiver.heard(2) == [("job_ended", "lost", None), ("job_orphaned", "orphaned", None)]


def test_an_alarm_about_the_health_is_told_once_while_the_job_runs(jobs: Any, receiver: Receiver) -> None:
    configure(jobs, f'webhook = "{receiver.url}"')
    job_id = submit(jobs.ws, "probe", jobs.request("ill")).job_id
    assert receiver.heard(1) == [("job_unhealthy", "running", "nan")]
    jobs.open_gate()
    jobs.ended(job_id)
    assert receiver.heard(2) == [("job_ended", "succeeded", None), ("job_unhealthy", "running", "nan")]


def test_a_plan_that_waits_for_a_yes_is_told_of_once_as_it_is(jobs: Any, receiver: Receiver) -> None:
    configure(jobs, f'webhook = "{receiver.url}"')
    jobs.ws.home.mkdir()
    with Ledger.open(jobs.ws) as ledger:
        for digest in ("aaaaaaaa", "aaaaaaaa", "bbbbbbbb"):
            ask_for_yes(jobs.ws, ledger, "plan_0123456789ab", digest)
    assert receiver.heard(2) == [("approval_needed", "planned", "approval_needed")] * 2
    assert {body["plan_id"] for body in receiver.bodies} == {"plan_0123456789ab"}


def test_nobody_is_told_what_was_not_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "told"
    program = (sys.executable, "-c", "import sys; open(sys.argv[1], 'w')", str(out))
    notice = ended("cancelled")
    notify(Notify(command=program, on=("failed",)), notice, lambda seconds: None)
    assert not out.exists()


def test_failing_to_tell_leaves_the_job_as_it_is(jobs: Any) -> None:
    configure(jobs, 'webhook = "http://127.0.0.1:9/closed"\ncommand = ["/no/such/program"]')
    view = jobs.ended(submit(jobs.ws, "probe", jobs.request("finish")).job_id)
    assert (view.state, view.error) == ("succeeded", None)


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "https://a b", "http://127.0.0.1.example.org/x"]
)
def test_a_webhook_without_encryption_to_another_host_is_refused(tmp_path: Path, url: str) -> None:
    path = tmp_path / "asrtune.toml"
    path.write_text(f'[notify]\nwebhook = "{url}"\n', encoding="utf-8")
    with pytest.raises(UsageError, match="config_invalid"):
        load_config(path)
