"""The files by which hosts find this repository: current, of one source, and of the form that each host's own check wants."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from asrtune import __version__, agent_docs, catalog, install, manifests
from tests.conftest import ROOT

NAME = {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength": 64}
VERSION = {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"}
TEXT = {"type": "string", "minLength": 20, "maxLength": 1024}
AUTHOR = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}}
INSIDE = {"type": "string", "pattern": r"^\./(?!.*\.\.)"}
"""A path in a plugin: below its root, written from it."""
STDIO = {"type": "object", "required": ["command", "args"], "additionalProperties": False,
         "properties": {"command": {"const": "asrtune"}, "args": {"const": ["mcp"]}, "type": {"const": "stdio"}}}  # fmt: skip


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    """A schema of our own that knows no other key: `claude plugin validate --strict` and `gemini extensions validate` refuse unknown ones."""
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


def servers(key: str) -> dict[str, Any]:
    return closed([key], **{key: closed(["asrtune"], asrtune=STDIO)})


PLUGIN: dict[str, Any] = {"name": NAME, "version": VERSION, "description": TEXT, "author": AUTHOR, "license": {"const": "Apache-2.0"},
                          "keywords": {"type": "array", "items": NAME, "minItems": 1, "uniqueItems": True}}  # fmt: skip
SHORT = {"type": "string", "minLength": 20, "maxLength": 100}
SCHEMAS: dict[str, dict[str, Any]] = {
    ".claude-plugin/plugin.json": closed(list(PLUGIN), **PLUGIN, skills={"type": "array", "items": INSIDE}),
    ".claude-plugin/marketplace.json": closed(
        ["name", "description", "owner", "plugins"], name=NAME, description=SHORT, owner=AUTHOR,
        plugins={"type": "array", "minItems": 1, "items": closed(["name", "source", "description"], name=NAME, source={"const": "./"}, description=SHORT)}),
    ".mcp.json": servers("mcpServers"),
    ".codex-plugin/plugin.json": closed(list(PLUGIN), **PLUGIN, skills=INSIDE, mcpServers=INSIDE),
    ".cursor-plugin/plugin.json": closed(list(PLUGIN), **PLUGIN, skills=INSIDE, mcpServers=INSIDE),
    ".vscode/mcp.json": servers("servers"),
    "gemini-extension.json": closed(["name", "version"], name=NAME, version=VERSION, description=SHORT, contextFileName={"const": "SKILL.md"},
                                    mcpServers=closed(["asrtune"], asrtune=STDIO)),
    # Required of version 0.4 of the bundle format; `mcpb validate` says the same (test_outside_tools.py).
    ".mcpb/manifest.json": closed(
        ["manifest_version", "name", "version", "description", "author", "server", "tools", "user_config"],
        manifest_version={"const": "0.4"}, name=NAME, version=VERSION, description=SHORT, author=AUTHOR, license={"const": "Apache-2.0"}, keywords=PLUGIN["keywords"],
        server=closed(["type", "entry_point", "mcp_config"], type={"const": "uv"}, entry_point={"const": "asrtune"},
                      mcp_config=closed(["command", "args", "env"], command={"const": "uvx"}, args={"const": ["asrtune", "mcp"]},
                                        env={"type": "object", "additionalProperties": {"pattern": r"^\$\{user_config\.[a-z_]+\}$"}})),
        tools={"type": "array", "items": closed(["name", "description"], name={"enum": list(catalog.NAMES)}, description={"type": "string", "minLength": 1})},
        user_config={"type": "object", "additionalProperties": {
            "type": "object", "required": ["type", "title", "description", "required"], "additionalProperties": False,
            "properties": {"type": {"enum": ["directory", "file"]}, "title": {"type": "string"}, "description": {"type": "string"}, "required": {"const": True}}}},
        compatibility={"type": "object"}),
    # The facts of the registry's schema of 2025-12-11 that a server which is one PyPI package over stdio can break.
    "server.json": closed(
        ["$schema", "name", "description", "version", "packages"],
        **{"$schema": {"const": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"}},
        name={"type": "string", "pattern": "^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$", "maxLength": 200}, title={"type": "string", "maxLength": 100},
        description=SHORT, version=VERSION,
        packages={"type": "array", "minItems": 1, "items": closed(
            ["registryType", "identifier", "version", "transport"], registryType={"const": "pypi"}, identifier=NAME, version=VERSION,
            runtimeHint={"const": "uvx"}, transport=closed(["type"], type={"const": "stdio"}),
            packageArguments={"type": "array", "items": closed(["type", "value"], type={"const": "positional"}, value={"const": "mcp"})},
            environmentVariables={"type": "array", "items": closed(
                ["name", "description"], name={"pattern": "^ASRTUNE_[A-Z]+$"}, description={"type": "string"}, format={"const": "filepath"})})}),
}  # fmt: skip
every_file = pytest.mark.parametrize("path", list(manifests.manifests()))


@every_file
def test_every_committed_manifest_is_the_generated_one(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == manifests.texts()[path], "run: python -m asrtune.manifests --write"


@every_file
def test_every_manifest_has_the_form_that_its_host_checks(path: str) -> None:
    jsonschema.Draft202012Validator(SCHEMAS[path]).validate(manifests.manifests()[path])


def test_every_form_is_that_of_a_manifest_and_can_say_no() -> None:
    assert set(SCHEMAS) == set(manifests.manifests())
    for path, schema in SCHEMAS.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        for spoilt in ({}, {**manifests.manifests()[path], "unknown": 1}):
            assert not jsonschema.Draft202012Validator(schema).is_valid(spoilt), path


def test_versions_and_descriptions_are_those_of_the_package_and_the_skill() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = "".join(manifests.texts().values())
    assert project["version"] == __version__
    assert text.count(f'"version": "{__version__}"') == 7
    assert (project["name"], project["license"]) == (manifests.NAME, manifests.LICENSE)
    skill = agent_docs.read(agent_docs.SKILL)
    assert skill is not None
    assert f"description: {manifests.skill_description()}\n" in skill
    assert f'version: "{__version__}"' in skill


def test_paths_in_manifests_lead_to_files_of_this_checkout() -> None:
    made = manifests.manifests()
    for path in (".codex-plugin/plugin.json", ".cursor-plugin/plugin.json"):
        assert (ROOT / made[path]["mcpServers"]).is_file()
        assert (ROOT / made[path]["skills"] / "SKILL.md").is_file()
    assert all((ROOT / folder / "SKILL.md").is_file() for folder in made[".claude-plugin/plugin.json"]["skills"])
    assert (ROOT / made["gemini-extension.json"]["contextFileName"]).is_file()


@pytest.mark.parametrize("host", ["claude", "vscode"])
def test_a_manifest_says_what_install_writes_into_a_project(host: str, tmp_path: Path) -> None:
    [config] = [change for change in install.plan(host, tmp_path) if change.path == tmp_path / install.HOSTS[host].config]
    installed, manifest = json.loads(config.text), manifests.manifests()[install.HOSTS[host].config]
    assert set(installed) == set(manifest)
    assert installed[install.HOSTS[host].key]["asrtune"].items() <= manifest[install.HOSTS[host].key]["asrtune"].items()


def test_the_maker_writes_what_is_stale_and_then_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(manifests, "MANIFESTS_ROOT", tmp_path)
    assert manifests.main([]) == 1
    assert manifests.main(["--write"]) == 0
    assert manifests.main([]) == 0
    assert manifests.main(["--write", "more"]) == 2
    (tmp_path / "server.json").write_text("{}", encoding="utf-8")
    assert manifests.stale(tmp_path) == ["server.json"]
    assert "server.json  stale" in capsys.readouterr().out
