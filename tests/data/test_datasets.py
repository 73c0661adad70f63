"""Dataset folders under kill and competition: what stands there is whole, and the next run completes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asrcore.data.datasets import new_dataset, remove_leftovers
from asrcore.data.importers.detect import detect
from asrcore.data.importers.formats import READERS
from asrcore.data.importers.rows import ReadRequest
from asrcore.data.importing import ImportReport, ImportRules, import_rows
from asrcore.data.split import SplitReport, split
from asrcore.errors import Problem
from tests.data.layouts import LAYOUTS
from tests.data.speech import manifest, row


def importing(folder: Path) -> ImportReport:
    source, roots = folder / "corpus", (folder.resolve(),)
    chosen = detect(source, roots)
    return import_rows(READERS[chosen](ReadRequest(source, roots)), ImportRules(chosen, "el-GR", None, roots), folder / "datasets")


def splitting(folder: Path) -> SplitReport:
    return split(folder / "all.jsonl", {"dev": 0.2, "test": 0.2}, 0, "refuse", (), folder / "datasets")


def prepare(folder: Path) -> None:
    LAYOUTS["table"][1](folder / "corpus")
    manifest(folder / "all.jsonl", [row(f"{n}.wav", speaker=f"s{n}", text=f"Πρόταση αριθμός {n} εδώ.") for n in range(10)])


def killed_at(step: int, work: Callable[[Path], object], folder: Path) -> bool:
    """Runs `work` in a child that dies without any clean-up before its `step`-th sync or rename; whether it died."""
    child = os.fork()
    if child == 0:
        left = [step]

        def counted(original: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object) -> object:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)  # as SIGKILL: no finally, no buffer flushed
                return original(*arguments)

            return call

        os.fsync, os.replace = counted(os.fsync), counted(os.replace)
        try:
            work(folder)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("work", [importing, splitting])
def test_a_kill_at_any_write_leaves_whole_datasets_only_and_the_next_run_completes(
    tmp_path: Path, work: Callable[[Path], ImportReport]
) -> None:
    prepare(tmp_path)
    step = 0
    while killed_at(step := step + 1, work, tmp_path):
        for standing in (p for p in (tmp_path / "datasets").iterdir() if not p.name.startswith(".")):
            assert json.loads((standing / "dataset.json").read_text())["dataset_id"] == standing.name
    assert step > 5
    report = work(tmp_path)
    assert [p.name for p in (tmp_path / "datasets").iterdir()] == [report.dataset_id]  # nothing hidden either: the next writer sweeps


def test_a_writer_sweeps_what_dead_writers_left_and_never_the_work_of_a_living_one(tmp_path: Path) -> None:
    prepare(tmp_path)
    datasets = tmp_path / "datasets"
    with new_dataset(datasets) as living:
        living.path("half.txt").write_text("half")
        dead = datasets / ".new.1.00000000.part"
        dead.mkdir()
        (dead / "manifest.jsonl").write_text("half a row")
        dead.with_suffix(".lock").touch()  # the lock itself died with the process
        forgotten, recent = datasets / ".new.2.00000000.part", datasets / ".new.3.00000000.part"
        forgotten.mkdir()
        os.utime(forgotten, (0, 0))
        recent.mkdir()  # without a lock: perhaps of an older version that is still at work
        report = importing(tmp_path)
        hidden = sorted(p.name for p in datasets.iterdir() if p.name.startswith("."))
        assert hidden == sorted([recent.name, living.staging.name, living.staging.with_suffix(".lock").name])
        assert living.path("half.txt").read_text() == "half"
    recent.rmdir()
    assert [p.name for p in datasets.iterdir()] == [report.dataset_id]


def test_many_writers_and_sweepers_at_once_lose_nothing(tmp_path: Path) -> None:
    def write(number: int) -> str:
        with new_dataset(tmp_path) as made:
            made.path("a.txt").write_text(str(number))
            remove_leftovers(tmp_path)
            made.name_it("test")
            made.finish(Problem(code="x", message=str(number)))
            return made.dataset_id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(write, range(64)))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(set(ids))
    assert len(set(ids)) == 64


def test_two_writers_of_the_same_dataset_end_with_one_whole_folder(tmp_path: Path) -> None:
    prepare(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: importing(tmp_path), range(8)))
    assert len({report.dataset_id for report in reports}) == 1
    (standing,) = (tmp_path / "datasets").iterdir()
    assert sorted(p.name for p in standing.iterdir()) == ["dataset.json", "manifest.jsonl", "not_imported.jsonl"]
