"""The table of tools, and that what it promises is what the verb modules do."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from asrtune import catalog, cli_verbs, registry

GOLDEN = Path(__file__).parents[1] / "golden"
every_tool = pytest.mark.parametrize("tool", catalog.TOOLS, ids=lambda tool: tool.name)


@every_tool
def test_every_tool_has_a_verb_module_with_an_input_an_output_and_a_run(tool: catalog.Tool) -> None:
    verb = registry.load(tool.name)
    assert verb.input.model_config.get("extra") == "forbid"
    assert callable(verb.run)
    assert ("JobView" in verb.output.__name__) == tool.returns_job or tool.name == "cancel_job"


@every_tool
def test_a_description_says_in_three_to_five_sentences_what_a_stranger_needs(tool: catalog.Tool) -> None:
    description = registry.load(tool.name).description
    assert 3 <= len(re.split(r"(?<=[.?!])\s+(?=[A-Z\"`])", description)) <= 5
    assert 150 <= len(description) <= 1000


@every_tool
def test_every_argument_is_described_and_no_other_is_taken(tool: catalog.Tool) -> None:
    schema = registry.input_schema(tool.name)
    assert schema["additionalProperties"] is False
    assert [name for name, prop in schema.get("properties", {}).items() if not prop.get("description")] == []


@every_tool
def test_the_four_hints_agree_with_the_kind(tool: catalog.Tool) -> None:
    assert tool.annotations.read_only == (tool.kind == "read")
    assert tool.annotations.destructive == (tool.name == "cancel_job")


def test_the_shipped_schemas_are_those_of_the_verb_modules() -> None:
    assert catalog.SCHEMAS_FILE.read_text(encoding="utf-8") == registry.shipped_text(), "run: python -m asrtune.registry --write"


def test_the_contracts_are_the_golden_ones() -> None:
    wanted = registry.golden_files()
    there = {str(path.relative_to(GOLDEN)): path.read_text(encoding="utf-8") for path in [*GOLDEN.glob("tools/*.json"), GOLDEN / "envelope.json",
                                                                                        GOLDEN / "error.json"]}  # fmt: skip
    assert there == wanted, "run: python -m asrtune.registry --write, and write a changelog line"


@every_tool
def test_schemas_are_valid_json_schema_and_answer_with_an_object(tool: catalog.Tool) -> None:
    for schema in (registry.input_schema(tool.name), registry.output_schema(tool.name)):
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"


@every_tool
def test_the_examples_are_calls_that_the_tool_accepts(tool: catalog.Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from asrtune.cli import app

    calls: list[Any] = []
    monkeypatch.setattr(cli_verbs, "run_tool", lambda tool, arguments, **flags: calls.append((tool.name, arguments)) or 0)
    for example in tool.examples:
        outcome = CliRunner().invoke(app, shlex.split(example)[1:])
        assert outcome.exit_code == 0, outcome.output
    assert [name for name, _ in calls] == [tool.name] * len(tool.examples)
    for _, arguments in calls:
        registry.validate(registry.load(tool.name), arguments)


def test_a_whole_tool_list_stays_small_enough_to_be_read() -> None:
    """Hosts that do not defer put names, descriptions and input schemas in every prompt: under 12,000 tokens at 4 characters each."""
    import json

    shown = [{"name": t.name, "description": t.description, "input": catalog.shipped()[t.name]["input_schema"]} for t in catalog.TOOLS]
    assert len(json.dumps(shown)) < 48_000
