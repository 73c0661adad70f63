"""What others' checkers say of the server, the skill and the manifests. Each test is skipped where its tool is not installed.

    python -m venv T/py && T/py/bin/pip install skills-ref==0.1.1 skillsaw==0.22.0 mcp-assert==0.12.3
    python -m venv T/fuzz && T/fuzz/bin/pip install mcp-fuzzer==0.7.0
    npm install --prefix T/npm @modelcontextprotocol/inspector@2.12.0 @modelcontextprotocol/conformance@0.2.0-alpha.12 @anthropic-ai/mcpb@2.1.2
    npm install --prefix T/hosts @anthropic-ai/claude-code @openai/codex @google/gemini-cli
    ASRTUNE_OUTSIDE_TOOLS=T/py/bin:T/fuzz/bin:T/npm/node_modules/.bin:T/hosts/node_modules/.bin make check-slow

ASRTUNE_OUTSIDE_TOOLS holds folders to look in before PATH; the conformance suite wants Node.js 22 or later. Nothing here needs a login: every host
gets an empty home.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from asrtune import agent_docs, catalog, install
from asrtune.cli import app
from tests.conftest import ROOT

pytestmark = pytest.mark.slow
WHERE = os.environ.get("ASRTUNE_OUTSIDE_TOOLS", "")
LONGEST_S = 900
"""Of one run of a tool, on a busy machine."""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def outside(tmp_path: Path) -> Run:
    """`outside(tool, *arguments)` runs it in an empty folder, with an empty home and `asrtune` of this checkout on its path."""
    home, here, shim = (tmp_path / name for name in ("home", "here", "bin"))
    for folder in (home, here, shim):
        folder.mkdir()
    command = shim / "asrtune"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m asrtune "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    path = os.pathsep.join(filter(None, [WHERE, str(shim), os.environ["PATH"]]))
    environment = {**os.environ, "PATH": path, "HOME": str(home), "GEMINI_CLI_TRUST_WORKSPACE": "true", "DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1",
                   "MCP_TIMEOUT": "180000"}  # fmt: skip

    def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        found = shutil.which(tool, path=path)
        if found is None:
            pytest.skip(f"{tool} is neither in ASRTUNE_OUTSIDE_TOOLS nor on PATH; how to install it: the first lines of this file")
        return subprocess.run([found, *arguments], cwd=here, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=LONGEST_S)

    return run


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The server over HTTP, in a process of its own and a workspace of its own."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = subprocess.Popen([sys.executable, "-m", "asrtune", "mcp", "--http", "--port", "0"], cwd=folder, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    said = re.search(r"http://\S+", server.stderr.readline())
    assert said is not None
    yield said[0]
    server.terminate()
    server.communicate(timeout=60)


@pytest.fixture
def skill(tmp_path: Path) -> Path:
    """The skill's folder as `asrtune install --write` makes it."""
    project = tmp_path / "project"
    project.mkdir()
    done = CliRunner().invoke(app, ["install", "--host", "claude", "--folder", str(project), "--write"])
    assert done.exit_code == 0
    return project / install.HOSTS["claude"].skills / agent_docs.NAME


# --- the server -----------------------------------------------------------------------------------------------------------------------

both_eras = pytest.mark.parametrize("era", ["legacy", "modern"])


def inspect(outside: Run, era: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return outside("mcp-inspector", "--cli", "asrtune", "mcp", "--protocol-era", era, "--connect-timeout", "300000", "--format", "json", "-q", "--method", *arguments)


@both_eras
def test_the_inspector_finds_no_schema_that_a_host_could_not_take(outside: Run, era: str) -> None:
    done = inspect(outside, era, "tools/list", "--strict")
    assert done.returncode == 0, done.stderr
    assert [tool["name"] for tool in json.loads(done.stdout)["result"]["tools"]] == list(catalog.NAMES)


@both_eras
@pytest.mark.parametrize("method", ["initialize", "resources/list", "resources/templates/list", "prompts/list"])
def test_the_inspector_can_list_everything_else(outside: Run, era: str, method: str) -> None:
    done = inspect(outside, era, method)
    assert done.returncode == 0, done.stderr


@both_eras
def test_a_client_of_the_typescript_sdk_sees_results_and_our_own_errors(outside: Run, era: str) -> None:
    """It holds structured content against the output schema, failed results too: what the schema does not know is replaced by its complaint."""
    done = inspect(outside, era, "tools/call", "--tool-name", "find_corpora", "--tool-arg", "locale=el-GR")
    assert done.returncode == 0, done.stderr
    refused = inspect(outside, era, "tools/call", "--tool-name", "inspect_dataset", "--tool-arg", "manifest=../outside.jsonl")
    assert refused.returncode == 5, refused.stderr
    assert json.loads(refused.stdout)["result"]["structuredContent"]["code"] == "path_refused"


CONFORMANCE = {
    "2025-11-25": {"server-initialize", "ping", "tools-list", "tools-call-error", "resources-list", "prompts-list", "dns-rebinding-protection"},
    "2026-07-28": {"server-stateless", "tools-list", "tools-call-error", "resources-list", "prompts-list", "sep-2164-resource-not-found", "caching",
                   "dns-rebinding-protection", "http-header-validation", "server-sse-multiple-streams", "input-required-result-unsupported-methods"},
}  # fmt: skip
"""Scenarios that hold for any server, and that ours passes."""
LEFT_OUT = {
    "tools-call-*": "calls test_simple_text, test_tool_with_progress and others of the suite's own server; our results and progress: test_mcp.py",
    "prompts-get-*": "asks for test_simple_prompt and others of the suite's own server; ours: test_install.py",
    "resources-read-*": "reads test://static-text and others of the suite's own server; ours: test_mcp.py",
    "resources-templates-read": "reads test://template/{id}/data of the suite's own server",
    "resources-*subscribe": "subscriptions are not offered: a job's news come from get_job",
    "json-schema-2020-12": "wants the tool json_schema_2020_12_tool; our schemas: test_catalog.py",
    "http-custom-header-server-validation": "is about tools with x-mcp-header annotations; none of ours has one",
    "elicitation-*": "calls test_elicitation_sep1034_defaults and others of the suite's own server; ours asks for one thing: test_mcp_approval.py",
    "input-required-result-*": "calls test_input_required_result_elicitation and others of the suite's own server; ours: test_mcp_approval.py",
    "completion-complete": "completion is not offered",
    "logging-set-level": "logging is not offered: 2026-07-28 deprecates it",
    "tasks-*": "the tasks extension is not offered: a task dies with its server, a job does not",
    "server-session-lifecycle": "no session is kept between requests",
    "server-sse-polling": "calls test_reconnection of the suite's own server",
    "server-sse-multiple-streams": "in 2025-11-25 it is about the streams of one session",
}
"""Scenarios that a revision requires of the suite's own server and that say nothing about this one, and why."""
FIXTURE_TOOL = "test_missing_capability"
FIXTURE_CHECKS = {"sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400"}
"""Checks of `server-stateless` that call FIXTURE_TOOL, a tool that needs a capability of the client; no tool of ours needs any."""


@pytest.mark.parametrize("revision", CONFORMANCE)
def test_every_scenario_of_the_specification_that_applies_passes_and_every_message_is_valid(outside: Run, url: str, revision: str, tmp_path: Path) -> None:
    outside("conformance", "server", "--url", url, "--requirements", revision, "-o", str(tmp_path / "out"))
    passed, failed, ran = dict[str, int](), list[tuple[str, str, str]](), set[str]()
    for file in (tmp_path / "out").glob("server-*/checks.json"):
        scenario = re.sub(r"^server-(.+?)-\d{4}-\d\d-\d\dT.*$", r"\1", file.parent.name)
        ran.add(scenario)
        for check in json.loads(file.read_text(encoding="utf-8")):
            if check["status"] == "SUCCESS":
                passed[scenario] = passed.get(scenario, 0) + 1
            elif check["status"] == "FAILURE" and check["id"] in FIXTURE_CHECKS:
                assert FIXTURE_TOOL in check["errorMessage"], "it failed for want of the tool, and for nothing else"
            elif check["status"] == "FAILURE" and (scenario in CONFORMANCE[revision] or check["id"] == "wire-schema-valid"):
                failed.append((scenario, check["id"], str(check.get("errorMessage"))))
    assert failed == []
    assert CONFORMANCE[revision] <= set(passed)
    unknown = [scenario for scenario in ran - CONFORMANCE[revision] if not any(fnmatch.fnmatch(scenario, pattern) for pattern in LEFT_OUT)]
    assert unknown == [], "a scenario that a newer suite brings is passed or left out for a reason, never overlooked"


LINTS_LEFT_OUT = "E102,E105"
"""E102 misses a `type` where `anyOf` with null has one on each branch; E105 calls paths and ids free text wherever two tools take one."""


def test_mcp_assert_finds_no_error_in_a_tool_definition(outside: Run) -> None:
    done = outside("mcp-assert", "lint", "--server", "asrtune mcp", "--skip-rules", LINTS_LEFT_OUT, "--timeout", "120s")
    assert done.returncode == 0, done.stdout + done.stderr


def test_mcp_assert_finds_no_input_that_the_server_does_not_answer(outside: Run) -> None:
    done = outside("mcp-assert", "fuzz", "--server", "asrtune mcp", "--runs", "30", "--seed", "1", "--timeout", "120s", "--json")
    tools = json.loads(done.stdout)["tools"]
    assert {tool["tool"] for tool in tools} == set(catalog.NAMES)
    failures = [(tool["tool"], failure) for tool in tools for failure in tool.get("failures", [])]
    # NaN and infinity are no JSON: its own client cannot send them.
    assert [failure for failure in failures if "failed to marshal request" not in failure[1]["detail"]] == []


def test_mcp_fuzzer_finds_no_crash_no_hang_and_no_malformed_input_that_is_taken(outside: Run, url: str, tmp_path: Path) -> None:
    done = outside("mcp-fuzzer", "--mode", "tools", "--protocol", "streamablehttp", "--endpoint", url, "--runs", "5", "--phase", "both", "--seed", "1",
                   "--no-network", "--tool-timeout", "120", "--timeout", "120", "--output-dir", str(tmp_path / "out"))  # fmt: skip
    # A finding "hang" is a call without an answer for --tool-timeout, and no call of ours may take half of that; on a machine with no free core
    # it is the first call of a tool, waiting for the processor to load numpy and scipy.
    assert f"Total Tools Tested: {len(catalog.NAMES)}" in done.stdout, done.stdout + done.stderr
    findings = json.loads((tmp_path / "out" / "findings.json").read_text(encoding="utf-8"))["findings"]
    assert [finding for finding in findings if finding["category"] != "accepted_malformed"] == []
    for finding in findings:  # it counts every answered input as malformed, fit ones too
        schema = catalog.shipped()[finding["target"]]["input_schema"]
        jsonschema.validate(finding["evidence"]["input"], schema)


# --- the skill and the manifests ------------------------------------------------------------------------------------------------------


def test_the_reference_validator_takes_the_installed_skill(outside: Run, skill: Path) -> None:
    done = outside("agentskills", "validate", str(skill))
    assert done.returncode == 0, done.stdout + done.stderr


def test_skillsaw_has_no_warning_about_the_installed_skill_and_no_error_about_the_repository(outside: Run, skill: Path) -> None:
    for arguments in (["--strict", str(skill)], [str(ROOT)]):
        done = outside("skillsaw", "lint", "--no-progress", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_claude_code_takes_the_plugin_and_connects_to_the_server(outside: Run) -> None:
    done = outside("claude", "plugin", "validate", "--strict", str(ROOT))
    assert done.returncode == 0, done.stdout + done.stderr
    assert outside("claude", "mcp", "add", "asrtune", "--", "asrtune", "mcp").returncode == 0
    assert re.search(r"asrtune: asrtune mcp .*Connected", outside("claude", "mcp", "list").stdout)


def test_codex_takes_the_marketplace_and_its_plugin(outside: Run) -> None:
    for words in (["marketplace", "add", str(ROOT)], ["add", "asrtune@asrtune"]):
        done = outside("codex", "plugin", *words)
        assert done.returncode == 0, done.stdout + done.stderr


def test_gemini_takes_the_extension(outside: Run) -> None:
    done = outside("gemini", "extensions", "validate", str(ROOT))
    assert done.returncode == 0, done.stdout + done.stderr


def test_mcpb_takes_and_packs_the_bundle(outside: Run, tmp_path: Path) -> None:
    for words in (["validate", str(ROOT / ".mcpb" / "manifest.json")], ["pack", str(ROOT / ".mcpb"), str(tmp_path / "asrtune.mcpb")]):
        done = outside("mcpb", *words)
        assert done.returncode == 0, done.stdout + done.stderr
