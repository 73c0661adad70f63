"""The skill's pages, wherever the package lies: `SKILL.md` and one page a stage, for `asrtune agent-docs`, MCP resources and `asrtune install`."""

from __future__ import annotations

from pathlib import Path

SKILL = "skill"
"""Topic of the entry page; the others are named like their files."""
NAME = "finetune-asr"


def skill_files() -> dict[str, Path]:
    """Path inside an installed skill -> file. A wheel carries the pages beside this module, a checkout has them at its root."""
    here = Path(__file__).resolve()
    for root in (here.parent / "skill_files", here.parents[2]):
        if (root / "SKILL.md").is_file():
            pages = sorted((root / "skill" / "references").glob("*.md"))
            return {"SKILL.md": root / "SKILL.md", **{f"skill/references/{page.name}": page for page in pages}}
    return {}


def topics() -> dict[str, Path]:
    """Topic -> page."""
    return {SKILL if name == "SKILL.md" else Path(name).stem: path for name, path in skill_files().items()}


def read(topic: str) -> str | None:
    """The text of a topic, None for an unknown one."""
    page = topics().get(topic)
    return page.read_text(encoding="utf-8") if page else None
