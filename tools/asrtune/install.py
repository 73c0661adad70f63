"""Makes coding agents find asrtune: the MCP entry of each host's config, and the skill folder.

Formats as the hosts' documentation of autumn 2026 has them; VS Code is the one with the key `servers`, Codex the one with TOML.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, NamedTuple, cast

from asrcore import io
from asrcore.errors import NotReadyError
from asrtune import agent_docs

SERVER = {"command": "asrtune", "args": ["mcp"]}
CODEX_TABLE = "mcp_servers"


class Host(NamedTuple):
    """One host: its project config below the current folder, the key that holds servers, and where it looks for skills."""

    config: str
    key: str
    skills: str
    by_hand: str
    """A command of the host itself that does the same, or an empty text."""


HOSTS: dict[str, Host] = {
    "claude": Host(".mcp.json", "mcpServers", ".claude/skills", "claude mcp add asrtune -- asrtune mcp"),
    "codex": Host(".codex/config.toml", CODEX_TABLE, ".agents/skills", "codex mcp add asrtune -- asrtune mcp"),
    "cursor": Host(".cursor/mcp.json", "mcpServers", ".agents/skills", ""),
    "vscode": Host(".vscode/mcp.json", "servers", ".agents/skills", ""),
    "gemini": Host(".gemini/settings.json", "mcpServers", ".agents/skills", "gemini mcp add asrtune asrtune mcp"),
}


class Change(NamedTuple):
    """One file that an installation would write: its path, the whole new text, and whether that differs from what is there."""

    path: Path
    text: str
    differs: bool


def plan(host: str, folder: Path) -> list[Change]:
    """Every file that `--write` would write. Other servers in the config stay. Raises `host_config_invalid` for a config that cannot be read."""
    target = HOSTS[host]
    config = folder / target.config
    skill = folder / target.skills / agent_docs.NAME
    wanted = {config: _merged(config, target), **{skill / name: page.read_text(encoding="utf-8") for name, page in agent_docs.skill_files().items()}}
    return [Change(path, text, _now(path) != text) for path, text in wanted.items()]


def write(changes: list[Change]) -> None:
    for change in changes:
        if change.differs:
            io.write_text(change.path, change.text)


def _merged(path: Path, host: Host) -> str:
    """The config with our server in it; whatever else it holds is kept, TOML to the letter."""
    now = _now(path)
    if path.suffix == ".toml":
        held = _parse(path, now or "", tomllib.loads)
        if "asrtune" in held.get(CODEX_TABLE, {}):
            return now or ""
        entry = f'[{CODEX_TABLE}.asrtune]\ncommand = "asrtune"\nargs = ["mcp"]\nstartup_timeout_sec = 20\n'
        return f"{now.rstrip()}\n\n{entry}" if now else entry
    held = _parse(path, now or "{}", json.loads)
    servers = held.get(host.key, {})
    if not isinstance(servers, dict):
        raise _invalid(path, f"its {host.key} is no object")
    return json.dumps({**held, host.key: {**cast("dict[str, Any]", servers), "asrtune": SERVER}}, ensure_ascii=False, indent=2) + "\n"


def _parse(path: Path, text: str, parse: Any) -> dict[str, Any]:
    try:
        value: object = parse(text)
    except ValueError as error:
        raise _invalid(path, "it cannot be read") from error
    if not isinstance(value, dict):
        raise _invalid(path, "it is no object")
    return cast("dict[str, Any]", value)


def _now(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(path, "it cannot be read") from error


def _invalid(path: Path, what: str) -> NotReadyError:
    return NotReadyError("host_config_invalid", f"{path} was left as it is: {what} (comments in JSON are not understood here).",
                         next_step="add the server by hand as `asrtune install` prints it without --write.")  # fmt: skip
