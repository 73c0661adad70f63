"""`asrtune report`: prints the path, and opens a browser only for a person at a terminal."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path
from types import SimpleNamespace

import pytest

from asrcore.jobs import Ledger
from asrcore.report import ReportView
from asrcore.workspace import Workspace
from asrtune import cli_misc


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def remember(url: str) -> bool:
        found.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", remember)
    return found


def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    person = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(cli_misc, "sys", SimpleNamespace(stdin=person, stdout=person))


def stored(ws: Workspace, number: int, age_s: int = 0) -> Path:
    report_id = f"report_{number:012x}"
    path = ws.folder("reports", report_id) / "report.html"
    path.parent.mkdir(parents=True)
    path.write_text("<!DOCTYPE html>")
    os.utime(path, (1_700_000_000 - age_s,) * 2)
    view = ReportView(report_id=report_id, title="t", path=str(path), size_bytes=15, targets=(), replay=None, run_id=None, sources=())
    with Ledger.open(ws) as ledger:
        ledger.put("report", report_id, view)
    return path


def test_a_pipe_gets_the_path_and_no_browser_opens(ws: Workspace, opened: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = stored(ws, 1)
    assert cli_misc.open_report(None, show=True) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert opened == []


def test_a_person_gets_the_newest_page_in_the_browser(
    ws: Workspace, opened: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again = stored(ws, 1)
    stored(ws, 2, age_s=60)
    at_a_terminal(monkeypatch)
    assert cli_misc.open_report(None, show=True) == 0
    assert opened == [again.as_uri()]
    assert cli_misc.open_report("report_000000000002", show=False) == 0
    assert len(opened) == 1
    assert "report_000000000002" in capsys.readouterr().out


def test_a_path_is_opened_and_a_machine_without_a_browser_says_so(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "copy.html").write_text("")
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    at_a_terminal(monkeypatch)
    assert cli_misc.open_report("copy.html", show=True) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'copy.html'}\n"
    assert "no browser" in shown.err


@pytest.mark.parametrize(
    ("which", "exit_code", "error"),
    [
        (None, 3, "no_report"),
        ("report_0123456789ab", 3, "report_unknown"),
        ("gone.html", 2, "report_path_missing"),
        ("asrtune.toml", 2, "report_path_missing"),
    ],
)
def test_what_is_not_there_is_a_coded_error(
    ws: Workspace, capsys: pytest.CaptureFixture[str], which: str | None, exit_code: int, error: str
) -> None:
    (ws.base_folder / "asrtune.toml").write_text("")
    assert cli_misc.open_report(which, show=True) == exit_code
    assert f"[{error}]" in capsys.readouterr().err


def test_a_report_whose_file_is_gone_is_named_as_such(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    stored(ws, 1).unlink()
    assert cli_misc.open_report("report_000000000001", show=True) == 3
    assert cli_misc.open_report(None, show=True) == 3
    assert "[report_missing]" in (shown := capsys.readouterr().err)
    assert "[no_report]" in shown
