"""Every recipe of recipes/ is planned: its steps up to the plan are played on the embedded base, with noise in the place of the recordings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner, Result

from asrcore.jobs import Ledger
from asrcore.recipe.spec import Plan
from asrcore.workspace import Workspace
from asrtune import catalog, cli_replay
from asrtune.cli import app
from tests.conftest import ROOT
from tests.recipe.corpora import corpus

RECIPES = ROOT / "recipes"
FLEURS = ("el_gr", "bg_bg", "en_us", "es_419", "de_de", "ru_ru")
LOCALES = {"domain": "el-GR", "accent": "el-GR", "telephony": "el-GR", "new-locale": "ca-ES"}
NO_DIGITS = str.maketrans("0123456789", "abcdefghij")
"""The embedded base cannot spell digits, and add_locale refuses what cannot be spelled."""
GUARDS = {"domain": "el-GR", "accent": "el-GR", "telephony": "el-GR", "new-locale": "es-ES"}


def fleurs(folder: Path) -> None:
    """As the hub has it, in noise: no sentence twice."""
    rng = np.random.default_rng(0)
    for language in FLEURS:
        for part in ("train", "dev", "test"):
            home = folder / "data" / "fleurs" / language
            (home / part).mkdir(parents=True)
            rows: list[str] = []
            for number in range(6):
                name = f"{language}{part}{number}.wav"
                sf.write(home / part / name, (0.05 * rng.standard_normal(12_000 + 300 * number)).astype(np.float32), 16_000)
                text = f"Sentence {rng.integers(10**12)} in {language}, {rng.integers(10**12)}."
                rows.append(f"{number}\t{name}\t{text}\tplain\tp l a i n\t12000\tMALE")
            (home / f"{part}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def own_data(name: str) -> Callable[[Path], None]:
    """The five manifests that a recipe's values name."""

    def make(folder: Path) -> None:
        locales = {"train": LOCALES[name], "dev": LOCALES[name], "test": LOCALES[name], "replay": GUARDS[name], "guard": GUARDS[name]}
        for number, (role, locale) in enumerate(locales.items()):
            made = corpus(folder / "made", role, locale, 12, seed=number)
            shutil.copytree(made.parent, folder / "data", dirs_exist_ok=True, copy_function=lambda src, dst, role=role: shutil.copy(src, Path(dst).with_name(f"{role}_{Path(dst).name}")))
            rows = [json.loads(line) for line in made.read_text(encoding="utf-8").splitlines()]
            lines = [json.dumps(row | {"audio_filepath": f"{role}_{row['audio_filepath']}", "text": row["text"].translate(NO_DIGITS)}) for row in rows]
            (folder / "data" / f"{role}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
            (folder / "data" / f"{role}_manifest.json").unlink()

    return make


DATA: dict[str, Callable[[Path], None]] = {"fleurs-el-bg": fleurs, **{name: own_data(name) for name in LOCALES}}


def replay(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["replay", *arguments], catch_exceptions=False)


def test_every_recipe_is_one_that_is_planned_here() -> None:
    assert {path.stem for path in RECIPES.glob("*.toml")} == set(DATA)
    for path in RECIPES.glob("*.toml"):
        steps, values = cli_replay.read_recipe(path)
        tools = [step["tool"] for _, step in steps]
        assert set(tools) <= set(catalog.NAMES)
        assert values["base"] == "nvidia/nemotron-3.5-asr-streaming-0.6b"
        assert tools.index("plan_finetune") < tools.index("launch_finetune") < tools.index("compare_models") < tools.index("check_replay")
        assert f"`{path.name}`" in (RECIPES / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DATA)
def test_a_recipe_gets_to_its_plan(name: str, ws: Workspace) -> None:
    DATA[name](ws.base_folder)
    done = replay(str(RECIPES / f"{name}.toml"), "--until", "plan_finetune", "--set", "base=embedded")
    assert done.exit_code == 0, done.output
    with Ledger.open(ws) as ledger:
        [row] = ledger.list("plan", 10)
    plan = Plan.model_validate(row.data).request
    assert (plan.base.name == "embedded") == (name != "new-locale")  # that one makes a base of its own first
    assert {source.role for source in plan.shards.sources} == {"train", "replay"}


def test_a_recipe_ends_at_its_first_wrong_answer_and_shows_it(ws: Workspace) -> None:
    done = replay(str(RECIPES / "telephony.toml"), "--set", "base=embedded")
    assert done.exit_code == 1
    assert "[path_missing]" in done.output
    assert "BAD 1 inspect_dataset" in done.output
    assert "validate_language_tags" not in done.output.replace("Next:", "")


@pytest.mark.parametrize(
    ("text", "arguments", "code"),
    [
        ("title = 3 3", [], "script_invalid"), ('title = "x"', [], "script_invalid"), ('[[step]]\ntool = "doctor"\nextra = 1', [], "script_invalid"),
        ('[[step]]\ntool = "doctor"\n[values]\nx = 3', [], "script_invalid"), ('[[step]]\ntool = "doctor"', ["--set", "base=embedded"], "value_unknown"),
        ('[[step]]\ntool = "doctor"', ["--until", "plan_finetune"], "step_unknown"),
    ],
)  # fmt: skip
def test_what_is_no_recipe_or_no_value_of_it_is_refused(text: str, arguments: list[str], code: str, ws: Workspace) -> None:
    Path("r.toml").write_text(text, encoding="utf-8")
    done = replay("r.toml", *arguments)
    assert done.exit_code == 2
    assert f"[{code}]" in done.output
