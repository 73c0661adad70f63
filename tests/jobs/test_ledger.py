"""The ledger: objects, schema, journal mode, faults, and several processes at once."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from asrcore.errors import AsrtuneError, EnvironmentFault, NotReadyError
from asrcore.jobs import KINDS, Ledger, migrations
from asrcore.jobs import ledger as ledger_module
from asrcore.workspace import Workspace

GOLDEN = Path(__file__).parents[1] / "golden" / "ledger_schema.sql"

NFS = "/dev/sda / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n/dev/sdb /home/local ext4 rw 0 0\nhost /mnt/my\\040share fuse.sshfs rw 0 0\n"


def test_reading_a_workspace_without_a_ledger_finds_nothing_and_makes_nothing(ws: Workspace) -> None:
    ledger = Ledger.open(ws)
    assert ledger.get("run", "run_1") is None
    assert ledger.list("run") == ()
    assert not ws.home.exists()


def test_an_object_is_new_once_and_keeps_its_first_time_when_replaced(ws: Workspace) -> None:
    with Ledger.open(ws) as ledger:
        assert ledger.put("run", "run_1", {"wer": 9.5})
        created = ledger.list("run")[0].created
        assert not ledger.put("run", "run_1", {"wer": 9.5})
        assert not ledger.put("run", "run_1", {"wer": 8.5})
        assert ledger.get("run", "run_1") == {"wer": 8.5}
        assert [(row.id, row.created) for row in ledger.list("run")] == [("run_1", created)]


def test_objects_are_listed_newest_first_per_kind(ws: Workspace) -> None:
    with Ledger.open(ws) as ledger:
        for kind in KINDS:
            for number in range(4):
                ledger.put(kind, f"{kind}_{number}", {"n": number})
        for kind in KINDS:
            assert [row.data["n"] for row in ledger.list(kind, 3)] == [3, 2, 1]


def test_an_unknown_object_names_the_call_that_lists_what_there_is(ws: Workspace) -> None:
    with pytest.raises(NotReadyError, match=r"\[plan_unknown\].*list_objects"):
        Ledger.open(ws).require("plan", "plan_1")


def test_the_real_schema_is_the_golden_one(ws: Workspace) -> None:
    Ledger.open(ws).put("set", "set_1", {})
    with sqlite3.connect(ws.ledger_path) as connection:
        assert migrations.schema_sql(connection) == GOLDEN.read_text(encoding="utf-8")
    connection.close()


def test_local_disks_get_wal_and_every_commit_is_synced(ws: Workspace) -> None:
    with Ledger.open(ws) as ledger:
        ledger.put("set", "set_1", {})
        assert ledger.rows("PRAGMA journal_mode")[0][0] == "wal"
        assert ledger.rows("PRAGMA synchronous")[0][0] == 2  # FULL


def test_a_network_file_system_gets_delete_mode_even_when_the_ledger_was_wal(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(ws) as local:
        local.put("set", "set_1", {"n": 1})
    monkeypatch.setattr(ledger_module, "on_network", lambda folder: True)
    with Ledger.open(ws) as ledger:
        assert ledger.rows("PRAGMA journal_mode")[0][0] == "delete"
        assert ledger.get("set", "set_1") == {"n": 1}
    assert not ws.ledger_path.with_name("ledger.db-wal").exists()


@pytest.mark.parametrize(
    ("folder", "network"),
    [("/srv/x", False), ("/home/ann/.asrtune", True), ("/home/local/x", False), ("/homes/x", False), ("/mnt/my share/x", True)],
)
def test_the_longest_mount_point_decides_what_a_folder_lies_on(folder: str, *, network: bool) -> None:
    assert ledger_module.on_network(Path(folder), NFS) is network


def test_a_ledger_of_a_newer_release_is_refused_and_left_alone(ws: Workspace) -> None:
    with Ledger.open(ws) as ledger:
        ledger.put("set", "set_1", {})
        with ledger.transaction() as connection:
            connection.execute("INSERT INTO schema_version VALUES (?, 0)", (migrations.VERSION + 1,))
    with pytest.raises(EnvironmentFault, match="ledger_too_new"):
        Ledger.open(ws).put("set", "set_2", {})
    with pytest.raises(EnvironmentFault, match="ledger_too_new"):
        Ledger.open(ws).list("set")


def test_a_step_that_fails_leaves_the_old_schema(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(ws) as ledger:
        ledger.put("set", "set_1", {"n": 1})
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "STEPS", (*migrations.STEPS, ("CREATE TABLE later(x)", "CREATE TABLE jobs(x)")))
        patch.setattr(migrations, "VERSION", migrations.VERSION + 1)
        with pytest.raises(AsrtuneError):
            Ledger.open(ws).get("set", "set_1")
    with Ledger.open(ws) as ledger:
        assert ledger.get("set", "set_1") == {"n": 1}
        assert ledger.rows("SELECT 1 FROM sqlite_master WHERE name = 'later'") == []


def test_a_later_step_is_applied_once_and_keeps_the_rows(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger.open(ws).put("set", "set_1", {"n": 1})
    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, ("CREATE TABLE later(x)", "INSERT INTO later VALUES (1)")))
    monkeypatch.setattr(migrations, "VERSION", migrations.VERSION + 1)
    for _ in range(2):
        with Ledger.open(ws) as ledger:
            assert ledger.get("set", "set_1") == {"n": 1}
            assert len(ledger.rows("SELECT x FROM later")) == 1


def test_a_file_that_is_no_ledger_is_named_and_left_alone(ws: Workspace) -> None:
    ws.home.mkdir()
    ws.ledger_path.write_bytes(b"not a database at all, but long enough to have a header" * 40)
    before = ws.ledger_path.read_bytes()
    with pytest.raises(AsrtuneError, match="ledger_damaged"):
        Ledger.open(ws).put("set", "set_1", {})
    assert ws.ledger_path.read_bytes() == before


def test_a_full_disk_is_the_coded_error_and_loses_nothing_that_was_there(ws: Workspace) -> None:
    with Ledger.open(ws) as ledger:
        ledger.put("set", "set_1", {"n": 1})
        pages = ledger.rows("PRAGMA page_count")[0][0]
        ledger.rows(f"PRAGMA max_page_count={pages}")
        with pytest.raises(EnvironmentFault, match="disk_full"):
            ledger.put("set", "set_2", {"big": "x" * 100_000})
        assert ledger.get("set", "set_2") is None
        assert ledger.get("set", "set_1") == {"n": 1}


def test_an_exception_inside_a_transaction_undoes_all_of_it(ws: Workspace) -> None:
    with Ledger.open(ws) as ledger:

        def half() -> None:
            with ledger.transaction() as connection:
                ledger_module.put_object(connection, "set", "set_1", {})
                raise KeyError

        with pytest.raises(KeyError):
            half()
        assert ledger.get("set", "set_1") is None
        assert ledger.put("set", "set_1", {})


def test_nan_never_enters_a_row(ws: Workspace) -> None:
    with Ledger.open(ws) as ledger, pytest.raises(ValueError, match="JSON"):
        ledger.put("run", "run_1", {"wer": float("nan")})


def test_threads_share_one_ledger_without_lost_updates(ws: Workspace) -> None:
    with Ledger.open(ws) as ledger:
        ledger.put("set", "counter", {"n": 0})

        def count() -> None:
            for _ in range(10):
                with ledger.transaction() as connection:
                    n = json.loads(connection.execute("SELECT data FROM objects WHERE id = 'counter'").fetchone()[0])["n"]
                    ledger_module.put_object(connection, "set", "counter", {"n": n + 1})

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ledger.get("set", "counter") == {"n": 40}


def test_eight_processes_make_and_write_one_ledger_without_lost_updates(ws: Workspace) -> None:
    code = (
        "import json, sys\n"
        "from asrcore.jobs.ledger import Ledger, put_object\n"
        "from asrcore.workspace import Workspace\n"
        "me = sys.argv[1]\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "ledger = Ledger.open(Workspace.open())\n"
        "for i in range(10):\n"
        "    ledger.put('eval', f'eval_{me}_{i}', {'n': i})\n"
        "    with ledger.transaction() as c:\n"
        "        row = c.execute(\"SELECT data FROM objects WHERE id = 'counter'\").fetchone()\n"
        "        put_object(c, 'set', 'counter', {'n': json.loads(row[0])['n'] + 1 if row else 1})\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ws.base_folder)
        for n in range(8)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    assert not ws.ledger_path.exists()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    with Ledger.open(ws) as ledger:
        assert ledger.get("set", "counter") == {"n": 80}
        assert {row.id for row in ledger.list("eval", 1000)} == {f"eval_{n}_{i}" for n in range(8) for i in range(10)}
        assert ledger.rows("PRAGMA integrity_check")[0][0] == "ok"
