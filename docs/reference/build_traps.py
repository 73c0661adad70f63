"""Fills the test column of docs/traps.md: tests that the row names already and that still exist, and tests whose docstring cites the trap.

    python docs/reference/build_traps.py            rewrite the column
    python docs/reference/build_traps.py --check    exit 1 when the column is stale

A citation is `trap 3.13` or `traps 3.4, 3.20 and 3.27c` in the docstring of a test function or of a test module, or the name of a file
`tests/traps/test_trap_3_13_….py`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "traps.md"
TEST_CELL = 4
"""Cells of a row: id, symptom, state, guard, test, source."""
_ROW = re.compile(r"\| 3\.\d")
_CITATION = re.compile(r"\btraps? (3\.\d+[a-r]?(?:(?:, | and |, and )3\.\d+[a-r]?)*)", re.IGNORECASE)
_FILE = re.compile(r"test_trap_3_(\d+)([a-r]?)_")
_NAMED = re.compile(r"`(tests/[^`]+)`")


def citations() -> dict[str, list[str]]:
    """Trap id -> `tests/room/file.py::test_name` of the tests that cite it, in file order."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if by_name := _FILE.match(path.name):
            found[f"3.{int(by_name[1])}{by_name[2]}"].append(name)
        _cite(found, tree, name)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                _cite(found, node, f"{name}::{node.name}")
    return found


def _cite(found: defaultdict[str, list[str]], node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> None:
    for citation in _CITATION.finditer(ast.get_docstring(node) or ""):
        for trap in re.findall(r"3\.\d+[a-r]?", citation[1]):
            if name not in found[trap]:
                found[trap].append(name)


def exists(test: str) -> bool:
    """Whether `path` or `path::function` is there."""
    path, _, function = test.partition("::")
    file = ROOT / path
    return file.is_file() and (not function or f"def {function}(" in file.read_text(encoding="utf-8"))


def render(page: str) -> str:
    """The page with its test column renewed; everything else untouched."""
    cited = citations()
    lines = page.split("\n")
    for number, line in enumerate(lines):
        if _ROW.match(line):
            cells = line.strip("|").split("|")
            named = [test for test in _NAMED.findall(cells[TEST_CELL]) if exists(test)]
            tests = dict.fromkeys([*named, *cited.get(cells[0].strip(), [])])
            cells[TEST_CELL] = f" {', '.join(f'`{test}`' for test in tests) or 'none'} "
            lines[number] = f"|{'|'.join(cells)}|"
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    page = PAGE.read_text(encoding="utf-8")
    renewed = render(page)
    if arguments == ["--check"]:
        return int(page != renewed)
    PAGE.write_text(renewed, encoding="utf-8")
    rows = [line.strip("|").split("|") for line in renewed.split("\n") if _ROW.match(line)]
    bare = [cells[0].strip() for cells in rows if cells[TEST_CELL].strip() == "none" and cells[2].strip() in ("guarded", "partly")]
    print(f"wrote {PAGE.relative_to(ROOT)}: {len(rows)} traps" + (f"; guarded without a test: {', '.join(bare)}" if bare else ""))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
