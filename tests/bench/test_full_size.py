"""The real-size benchmark, tried on the embedded base: it goes on where it stopped, keeps what failed apart, and replaces its own section only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import full_size
from bench.full_size_stages import STAGES, Found, Place


def run(folder: Path, stages: str, *more: str) -> tuple[int, dict[str, dict[str, object]]]:
    code = full_size.main(["--smoke", "--folder", str(folder), "--stages", stages, "--results", str(folder / "results.md"), *more])
    return code, json.loads((folder / full_size.MEASURED).read_text(encoding="utf-8"))


@pytest.mark.slow
def test_stages_run_in_processes_of_their_own_and_are_not_done_twice(tmp_path: Path) -> None:
    code, first = run(tmp_path, "make,inspect")
    assert code == 0
    assert first["inspect"]["said"] == "10 rows; 6 layers, 640 pieces, 128 prompts"
    assert 0 < float(str(first["inspect"]["peak_gb"])) < 20
    (tmp_path / "base.nemo").unlink()
    assert run(tmp_path, "make,inspect") == (0, first), "what was measured is kept"
    code, again = run(tmp_path, "inspect", "--again")
    assert (code, again["inspect"]["failed"]) == (1, "checkpoint_missing"), "an error is a row of the table, with its code"
    assert "**failed**: checkpoint_missing" in (tmp_path / "results.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.heavy
def test_the_whole_of_it_holds_on_the_embedded_base(tmp_path: Path) -> None:
    code, done = run(tmp_path, ",".join(STAGES), "--scale-rows", "20")
    assert [name for name, one in done.items() if one["failed"]] == []
    assert set(done) == set(STAGES)
    assert "GPU" in str(done["gpu"]["said"]) or not done["gpu"]["measured"] or code == 1


def test_a_stage_that_this_machine_cannot_run_is_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, "gpu", lambda _: Found(said="not measured: no CUDA device here", measured=False))
    assert full_size.in_this_process("gpu", Place(tmp_path, smoke=True, scale_rows=1)) == 0
    told = full_size.Measured.model_validate_json((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert "| gpu | - | - | - | not measured: no CUDA device here |" in full_size.page({"gpu": told}, smoke=True)


def test_too_much_memory_or_growth_misses_the_bar() -> None:
    assert full_size.Measured(seconds=1, peak_gb=20.0).held
    assert not full_size.Measured(seconds=1, peak_gb=20.1).held
    assert not full_size.Measured(seconds=1, peak_gb=1, figures=(("inspect", "exponent 1.4", False),)).held
    page = full_size.page({"scaling": full_size.Measured(seconds=1, peak_gb=1, figures=(("inspect", "exponent 1.4", False),))}, smoke=False)
    assert "| scaling: inspect | exponent 1.4 | **missed** |" in page


def test_only_its_own_section_of_the_results_page_is_replaced() -> None:
    page = full_size.with_section("# Results\n\nOther figures.\n", "one", "mine")
    page = full_size.with_section(f"{page}\nMore below.\n", "other", "theirs")
    page = full_size.with_section(page, "two", "mine")
    assert page == (
        "# Results\n\nOther figures.\n\n<!-- mine: begin -->\ntwo\n<!-- mine: end -->\n\nMore below.\n\n<!-- theirs: begin -->\nother\n<!-- theirs: end -->\n"
    )


def test_a_plan_far_under_the_measured_peak_misses_its_bar() -> None:
    assert full_size.planned_figure(10.0, 10.5)[2]
    assert full_size.planned_figure(13.0, 10.0)[2]
    assert not full_size.planned_figure(8.0, 10.0)[2]
    assert not full_size.planned_figure(20.0, 10.0)[2]
