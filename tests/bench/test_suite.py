"""`python -m bench`: its table, its page, and what counts as a run that fell short. No bench is run here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import bench.__main__ as command
from bench import suite
from bench.suite import Bench, Figure, Row

BARS = {
    "bench_startup.py": {"help": 2.0, "handshake": 1.3}, "bench_eval.py": {"exact": 1.5, "fast": 5.0},
}  # fmt: skip


def told(stage: str, *figures: Figure, failed: str = "") -> command.Run:
    return command.Run(date="2026-01-01", machine="a machine", figures=figures, failed=failed)


@pytest.fixture
def one() -> Bench:
    rows = (Row(find="^speed$", what="speed", ours="asrtune x", rival="theirs", bar=2.0, least=True), Row(find="extra", what="extra", ours="asrtune y", rival=""))
    return Bench(stage="eval", script="bench_eval.py", minutes=1, row=rows)


def test_every_bench_of_the_table_is_there_takes_json_and_can_be_read() -> None:
    for found in suite.benches():
        text = (command.ROOT / "bench" / found.script).read_text(encoding="utf-8")
        assert '"--json"' in text, found.script
        assert found.script in suite.READERS
        assert found.row
        for row in found.row:
            re.compile(row.find)
            assert row.what
            assert row.ours
    assert {found.stage for found in suite.benches()} >= {"data", "eval", "train", "serve", "start-up"}


def test_a_bar_that_is_another_one_in_the_bench_stops_the_page(one: Bench) -> None:
    with pytest.raises(ValueError, match=r"bar is 2\.0 in suite\.toml and 3\.0"):
        command.page([one], {"eval": told("eval", Figure(name="speed", value=5.0, bar=3.0))})


@pytest.mark.parametrize(("script", "bars"), BARS.items())
def test_bars_of_the_table_are_those_of_the_benches(script: str, bars: dict[str, float]) -> None:
    [found] = [found for found in suite.benches() if found.script == script]
    assert {row.find: row.bar for row in found.row} == bars


def test_a_run_that_falls_short_says_so_and_is_not_good(one: Bench) -> None:
    short = told("eval", Figure(name="speed", value=1.9, bar=2.0, detail="19 against 10"))
    assert "| 1.9 | ≥ 2 | **missed** | 19 against 10 | `asrtune x` | theirs | 2026-01-01, a machine |" in command.page([one], {"eval": short})
    assert not command.good(one, short)
    assert command.good(one, told("eval", Figure(name="speed", value=2.0, bar=2.0)))
    assert "| - | ≥ 2 | not measured |" in command.page([one], {})
    assert not command.good(one, told("eval", failed="no network"))
    assert "no network" in command.page([one], {"eval": told("eval", failed="no network")})
    wrong = told("eval", Figure(name="speed", value=9.0, valid=False))
    assert not command.good(one, wrong)
    assert "**not the same output**" in command.page([one], {"eval": wrong})


def test_what_the_benches_print_becomes_figures() -> None:
    row = {"engine": "nemo", "batch_size": 8, "rtfx": 10.0, "identical_percent": 84.0}
    mine = {"engine": "exact", "batch_size": 64, "rtfx": 20.0, "identical_percent": 100.0}
    output = {"rows": [row, mine], "ratios": {"exact": 2.0}, "bars": {"exact": 1.5}, "identical_bar": 99.0, "tokens": 9, "held": True}
    [figure] = suite.figures("bench_eval.py", "some warning\n" + json.dumps(output))
    assert (figure.name, figure.value, figure.bar, figure.valid) == ("exact", 2.0, 1.5, True)
    serve = [{"server": "asrtune", "chunk_ms": 320, "connections": 32, "p95_ms": 160.0, "agreement": 1.0},
             {"server": "sherpa-onnx", "chunk_ms": 320, "connections": 32, "p95_ms": 240.0, "agreement": 0.5}]  # fmt: skip
    ours, theirs = suite.figures("bench_serve.py", json.dumps(serve))
    assert (ours.name, ours.value, theirs.value, theirs.valid) == ("asrtune 320 ms 32", 0.5, 1.5, False)
    with pytest.raises(ValueError, match="Expecting value"):
        suite.figures("bench_eval.py", "")


def test_a_bench_that_ends_without_figures_is_a_row_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: Bench) -> None:
    monkeypatch.setattr(command, "benches", lambda: (one.model_copy(update={"script": "no_such_bench.py"}),))
    monkeypatch.setitem(suite.READERS, "no_such_bench.py", lambda _: [])
    code = command.main(["--results", str(tmp_path / "results.md"), "--measured", str(tmp_path / "measured.json")])
    assert code == 1
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert text.startswith("# Benchmark results")
    assert "No such file" in text
