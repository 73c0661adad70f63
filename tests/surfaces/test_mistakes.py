"""The commonest mistakes at the command line: each answer says what was wrong in words that lead to the right call, or does what was meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from asrcore.workspace import Workspace
from asrtune.cli import app

NO_JOB, NO_RUN, NO_EVAL, NO_PLAN, NO_SHARDS = (f"{kind}_000000000000" for kind in ("job", "run", "eval", "plan", "shards"))
PLAN = f"plan-finetune {NO_SHARDS} tiny.jsonl"

MISTAKES: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    # names
    ("inspectdataset tiny.jsonl", 2, ("Did you mean 'inspect-dataset'",)),
    ("inspect_dataset tiny.jsonl", 0, ("4 rows",)),
    ("inspect-dataset tiny.jsonl --smaple 3", 2, ("--sample",)),
    ("call inspect-dataset --json {}", 2, ("manifest: a value is required", "JSON-lines manifest")),
    ("schema inspect-dataset", 0, ("input_schema",)),
    ("list-objects jobs", 2, ("did you mean job?",)),
    ("agent-docs exporting", 2, ("export", "measuring")),
    ("install --host copilot", 2, ("vscode",)),
    # files
    ("inspect-dataset none.jsonl", 2, ("[path_missing]",)),
    ("inspect-dataset /etc/passwd", 2, ("[path_refused]", "add a data root to asrtune.toml")),
    ("inspect-dataset folder", 3, ("import_dataset makes one of a folder",)),
    ("inspect-dataset table.csv", 0, ("UNUSABLE", "asrtune import-dataset table.csv")),
    # ids
    ("get-job 5", 2, ("not an id of the kind job", 'list_objects with {"kind": "job"}')),
    (f"compare-models {NO_RUN} {NO_RUN}", 2, ("not an id of the kind eval", 'list_objects with {"kind": "eval"}')),
    (f"compare-models {NO_EVAL} {NO_EVAL}", 3, ("[eval_unknown]", "list_objects")),
    (f"launch-finetune {NO_SHARDS}", 2, ("not an id of the kind plan",)),
    (f"launch-finetune {NO_PLAN}", 3, ("call plan_finetune",)),
    ("plan-finetune tiny.jsonl tiny.jsonl", 2, ("not an id of the kind shards",)),
    # values
    (f"{PLAN} --att-context-size [56,0]", 3, ("[shards_unknown]",)),
    (f"{PLAN} --att-context-size 80ms", 2, ("[left, right] frames",)),
    (f"{PLAN} --surface lora", 2, ("lora:r",)),
    ("build-shards tiny.jsonl --replay-share 20", 2, ("less than or equal to 0.9", "0.1 is usual")),
    (f"get-job {NO_JOB} --wait-s 300", 2, ("less than or equal to 45", "Seconds to wait")),
    ("register-set tiny.jsonl testing", 2, ("'guard'",)),
    ("run-streaming-eval embedded tiny.jsonl --prompt-modes el-GR", 2, ("'langID' or 'auto'", "the row's own tag")),
    (f"export-model {NO_RUN} tiny.jsonl --to gguf", 2, ("'onnx'",)),
    # languages
    ("find-corpora greek", 2, ("el-GR",)),
    ("import-dataset folder --target-lang greek", 2, ("el-GR",)),
    ("transcribe embedded clip0.wav --language greek", 2, ("el-GR", "auto")),
    ("transcribe embedded clip0.wav --att-context-size [70,13]", 2, ("[att_context_untrained]", "[56, 13]")),
    # a person's acts, and servers
    (f"approve {NO_PLAN}", 6, (f"asrtune approve {NO_PLAN}",)),
    ("upload export_000000000000 acme/greek", 6, ("asrtune upload EXPORT_ID OWNER/NAME",)),
    ("mcp --port 80", 2, ("add --http",)),
)  # fmt: skip


@pytest.mark.parametrize(("typed", "exit_code", "said"), MISTAKES, ids=[typed for typed, _, _ in MISTAKES])
def test_a_common_mistake_is_understood_or_answered_with_the_way_on(
    ws: Workspace, manifest: str, monkeypatch: pytest.MonkeyPatch, typed: str, exit_code: int, said: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    Path("folder").mkdir()
    Path("table.csv").write_text("path,text\na.wav,hello\n", encoding="utf-8")
    answer = CliRunner().invoke(app, typed.split(), prog_name="asrtune", catch_exceptions=False)
    assert answer.exit_code == exit_code, answer.output
    assert [words for words in said if words not in answer.output] == [], answer.output


def test_a_list_with_one_bad_entry_has_one_problem(ws: Workspace, manifest: str) -> None:
    answer = CliRunner().invoke(app, ["run-streaming-eval", "embedded", manifest, "--prompt-modes", "loud", "--json"])
    assert [problem["message"].split(":")[0] for problem in json.loads(answer.stderr)["problems"]] == ["prompt_modes.0"]


def test_records_too_wide_for_a_table_are_shown_one_below_the_other(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    shown = CliRunner().invoke(app, ["find-corpora", "el-GR"]).stdout.splitlines()
    [heading] = [number for number, line in enumerate(shown) if line == "fleurs"]
    assert shown[heading + 1].split() == ["title", "FLEURS", "(google/fleurs)"]
    assert max(map(len, shown)) <= 100
