"""import_dataset runs Lhotse's own recipes on corpora as they were published, in a process that can do nothing but read and write."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asrcore.errors import AsrtuneError
from asrcore.results import Result
from asrcore.workspace import Workspace
from asrtune import registry
from tests.data.layouts import TEXTS, clips, lines
from tests.data.speech import noise, wav
from tests.data.test_import import left_out, reasons, rows

pytestmark = pytest.mark.heavy


def take(ws: Workspace, recipe: str, **arguments: Any) -> Result[Any]:
    return registry.call("import_dataset", {"source": "corpus", "recipe": recipe, "target_lang": "el-GR", **arguments}, ws)


def refused(ws: Workspace, recipe: str, **arguments: Any) -> AsrtuneError:
    with pytest.raises(AsrtuneError) as caught:
        take(ws, recipe, **arguments)
    return caught.value


def ljspeech(folder: Path) -> list[Path]:
    """As LJSpeech was published: id|text|text as it is spoken."""
    files = clips(folder / "wavs")
    lines(folder / "metadata.csv", [f"{path.stem}|{text}|{text.lower()}" for path, text in zip(files, TEXTS, strict=True)])
    return files


def librispeech(folder: Path) -> None:
    """Two parts of LibriSpeech, a chapter each."""
    for part, count in (("train-clean-5", 3), ("dev-clean-2", 1)):
        chapter = folder / part / "84" / "121123"
        ids = [f"84-121123-{n:04d}" for n in range(count)]
        clips(chapter, ids, ".flac")
        lines(chapter / "84-121123.trans.txt", [f"{name} {text}" for name, text in zip(ids, TEXTS, strict=False)])


def test_a_recipe_reads_a_corpus_that_asrtune_has_no_format_for(ws: Workspace) -> None:
    files = ljspeech(ws.base_folder / "corpus")
    result = take(ws, "ljspeech")
    assert (result.data.format, result.data.rows_kept, result.data.not_imported) == ("lhotse", 3, ())
    made = rows(result.data)
    assert [(row.utterance.id, row.utterance.text, row.audio) for row in made] == [(path.stem, text, path) for path, text in zip(files, TEXTS, strict=True)]
    assert [(row.utterance.model_extra or {})["normalized_text"] for row in made] == [text.lower() for text in TEXTS]
    assert "rows_by_recipe" in {problem.code for problem in result.warnings}


def test_of_several_parts_the_caller_names_one(ws: Workspace) -> None:
    librispeech(ws.base_folder / "corpus")
    assert refused(ws, "librispeech").code == "split_needed"
    made = rows(take(ws, "librispeech", split="train-clean-5").data)
    assert sorted((row.utterance.text, row.utterance.speaker) for row in made) == sorted((text, "84") for text in TEXTS)


def test_audio_that_cannot_be_used_is_left_out_by_its_own_name(ws: Workspace, tmp_path_factory: pytest.TempPathFactory) -> None:
    files = ljspeech(ws.base_folder / "corpus")
    outside = wav(tmp_path_factory.mktemp("elsewhere") / "b.wav", noise(0.5))
    files[1].unlink()
    files[1].symlink_to(outside)
    report = take(ws, "ljspeech").data
    assert (report.rows_kept, reasons(report), left_out(report)) == (2, {"audio_refused": 1}, [("b.wav", None, "audio_refused")])


def test_unknown_recipes_other_folders_and_arguments_that_do_not_fit_are_refused_with_a_code(ws: Workspace) -> None:
    ljspeech(ws.base_folder / "corpus")
    unknown = refused(ws, "no_such_corpus")
    assert (unknown.code, "ljspeech" in unknown.message, "voxceleb" in unknown.message) == ("recipe_unknown", True, False)
    assert refused(ws, "librispeech").code == "recipe_failed"
    assert refused(ws, "ljspeech", format="table").code == "arguments_unused"
    assert refused(ws, "ljspeech", source="corpus/metadata.csv").code == "arguments_unused"
    assert not list((ws.home / "datasets").glob("dataset_*"))


TRIES = """
import json, os, socket, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
from asrcore.model.lhotse_recipe import alone
alone()
tries = [lambda: subprocess.run("true", shell=True), lambda: subprocess.Popen(["true"]), lambda: os.system("true"), lambda: os.popen("true"),
         lambda: os.execv("/bin/true", ["true"]), lambda: os.posix_spawn("/bin/true", ["true"], {}), lambda: os.spawnv(os.P_WAIT, "/bin/true", ["true"]),
         lambda: socket.create_connection(("localhost", 9)), lambda: socket.socket().connect(("127.0.0.1", 9))]
refused = 0
for number, attempt in enumerate(tries):
    try:
        answer = attempt()
        print("done", number, answer)
        refused += answer == 127  # os.spawn forks first, and its child may not go on
    except PermissionError:
        refused += 1
with ProcessPoolExecutor(1) as pool:
    print(json.dumps([refused, len(tries), pool.submit(abs, -1).result()]))
"""


def test_a_recipe_can_start_no_program_and_open_no_connection_but_may_use_several_processes(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", TRIES], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    refused_, tried, answer = json.loads(done.stdout.strip().splitlines()[-1])
    assert (refused_, answer) == (tried, 1)
