"""The files by which hosts and registries find this repository as a plugin, an extension or a server, all from one source.

    python -m asrtune.manifests            names the files that are missing or stale; exit code 1 if there are any
    python -m asrtune.manifests --write    writes them at the root of the checkout

The source is the package's version, the skill's own description (SKILL.md) and the server entry that `asrtune install` writes into a project.
Formats as each host's documentation of autumn 2026 has them. Two things differ between hosts that look alike: VS Code's key is `servers`, and a
path in a plugin manifest starts with `./` and stays inside the plugin.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from asrtune import __version__, agent_docs, catalog, install

NAME = "asrtune"
AUTHOR = {"name": "the asrtune authors"}
LICENSE = "Apache-2.0"
KEYWORDS = ["asr", "speech-recognition", "fine-tuning", "nemo", "mcp"]
SHORT = "Fine-tune, measure and export NVIDIA's streaming speech recogniser with typed tools."
"""For places that allow 100 characters; the skill's description is for places that decide by it."""
REGISTRY_NAME = "io.github.asrtune/asrtune"
"""Name in the MCP registry. It proves its owner when published: the README must hold `mcp-name:` with it."""
BUNDLE_VERSION = "0.4"
"""Of the manifest format of MCPB bundles."""
PLACES = {
    "ASRTUNE_HOME": ("directory", "Workspace", "Folder of the workspace", ".asrtune in the current folder"),
    "ASRTUNE_CONFIG": ("file", "Limits", "The asrtune.toml with data roots and budgets", "the one in the current folder"),
}
"""Environment variable -> kind of place, title, description, default."""
SERVER_SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
MANIFESTS_ROOT = Path(__file__).resolve().parents[2]


def skill_description() -> str:
    """The `description` of SKILL.md's front matter: what agents choose the skill by, so every host shows the same."""
    text = agent_docs.read(agent_docs.SKILL) or ""
    found = re.search(r"^description: (.+)$", text, re.MULTILINE)
    assert found is not None, "SKILL.md has a description"
    return found[1].strip()


def manifests() -> dict[str, dict[str, Any]]:
    """Path below the root of the checkout -> content."""
    about = {"name": NAME, "version": __version__, "description": skill_description(), "author": AUTHOR, "license": LICENSE, "keywords": KEYWORDS}
    servers = {NAME: dict(install.SERVER)}
    return {
        # The skill lies at the root, so that is the folder in which plugins look for one.
        ".claude-plugin/plugin.json": {**about, "skills": ["./"]},
        ".claude-plugin/marketplace.json": {
            "name": NAME, "description": SHORT, "owner": AUTHOR,
            "plugins": [{"name": NAME, "source": "./", "description": SHORT}],
        },
        install.HOSTS["claude"].config: {install.HOSTS["claude"].key: servers},
        ".codex-plugin/plugin.json": {**about, "skills": "./", "mcpServers": f"./{install.HOSTS['claude'].config}"},
        ".cursor-plugin/plugin.json": {**about, "skills": "./", "mcpServers": f"./{install.HOSTS['claude'].config}"},
        install.HOSTS["vscode"].config: {install.HOSTS["vscode"].key: {NAME: {"type": "stdio", **install.SERVER}}},
        "gemini-extension.json": {"name": NAME, "version": __version__, "description": SHORT, "contextFileName": "SKILL.md", "mcpServers": servers},
        # A bundle for desktop hosts. They start servers in no project, so the person chooses the folders.
        ".mcpb/manifest.json": {
            "manifest_version": BUNDLE_VERSION, "name": NAME, "version": __version__, "description": SHORT, "author": AUTHOR, "license": LICENSE, "keywords": KEYWORDS,
            "server": {
                "type": "uv", "entry_point": NAME,
                "mcp_config": {"command": "uvx", "args": [NAME, *install.SERVER["args"]],
                               "env": {variable: f"${{user_config.{variable.lower()}}}" for variable in PLACES}},
            },
            "tools": [{"name": tool.name, "description": tool.summary} for tool in catalog.TOOLS],
            "user_config": {
                variable.lower(): {"type": kind, "title": title, "description": f"{description}.", "required": True}
                for variable, (kind, title, description, _) in PLACES.items()
            },
            "compatibility": {"platforms": ["linux"], "runtimes": {"python": ">=3.11"}},
        },
        "server.json": {
            "$schema": SERVER_SCHEMA, "name": REGISTRY_NAME, "title": NAME, "description": SHORT, "version": __version__,
            "packages": [{
                "registryType": "pypi", "identifier": NAME, "version": __version__, "runtimeHint": "uvx", "transport": {"type": "stdio"},
                "packageArguments": [{"type": "positional", "value": argument} for argument in install.SERVER["args"]],
                "environmentVariables": [
                    {"name": variable, "description": f"{description}; default {default}.", "format": "filepath"}
                    for variable, (_, _, description, default) in PLACES.items()
                ],
            }],
        },
    }  # fmt: skip


def texts() -> dict[str, str]:
    """Path -> the file's text."""
    return {path: json.dumps(content, ensure_ascii=False, indent=2) + "\n" for path, content in manifests().items()}


def stale(root: Path) -> list[str]:
    """Paths of the files below `root` that are missing or say something else."""
    return [path for path, text in texts().items() if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text]


def write(root: Path) -> list[str]:
    """Writes what is stale; gives its paths."""
    from asrcore import io

    changed = stale(root)
    for path in changed:
        io.write_text(root / path, texts()[path])
    return changed


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--write"]):
        sys.stderr.write("usage: python -m asrtune.manifests [--write]\n")
        return 2
    changed = write(MANIFESTS_ROOT) if arguments else stale(MANIFESTS_ROOT)
    sys.stdout.write("".join(f"{path}  {'written' if arguments else 'stale'}\n" for path in changed))
    return 1 if changed and not arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
