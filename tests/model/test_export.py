"""The export gate: an artefact appears only when it says the same words, and a check that could not fail is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asrcore import io
from asrcore.checkpoint import checkpoint_ref, embedded_base, read_checkpoint
from asrcore.errors import AsrtuneError, NotReadyError, ToolFault, UsageError
from asrcore.jobs.child import Reporter
from asrcore.requests import AddLocaleRequest
from tests.model.exports import cut, damaged_nemo, refused_when_damaged, request_for, unpacked
from tests.model.identity import first_rows
from tests.model.runs import Watch

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return unpacked(tmp_path_factory.mktemp("sets"))


def test_an_export_reloads_with_identical_transcripts_and_its_provenance_inside(sets: dict[str, Path], tmp_path: Path) -> None:
    from asrcore.model import export

    result = export.run(request_for(sets, tmp_path / "out", "nemo", smoke_utterances=3), Reporter(tmp_path))
    assert (result.identical, result.compared_utterances) == (7, 7), "three clips with their tags, in auto, and the long one"
    assert result.prompt_changes_output
    assert {check.identical == check.compared for check in result.checks} == {True}
    assert io.sha256_file(Path(result.path)) == result.sha256
    assert read_checkpoint(Path(result.path)).prompt_dictionary == read_checkpoint(embedded_base()).prompt_dictionary
    config = config_of(Path(result.path))
    assert config["asrtune"]["provenance"] == {"run": "run_test"}
    assert (config["decoding"]["strategy"], config["decoding"]["greedy"]["max_symbols"]) == ("greedy_batch", 10)
    assert json.loads((tmp_path / "out/export.json").read_text(encoding="utf-8"))["provenance"] == {"run": "run_test"}


def config_of(checkpoint: Path) -> dict[str, Any]:
    """The config inside a `.nemo`."""
    import tarfile

    import yaml

    with tarfile.open(checkpoint) as archive:
        member = archive.extractfile(next(name for name in archive.getnames() if name.endswith("model_config.yaml")))
        assert member is not None
        return yaml.safe_load(member.read())


def test_a_tag_that_shares_its_neighbours_slot_stays_in_the_dictionary_and_can_be_served(sets: dict[str, Path], tmp_path: Path) -> None:
    """The alias of a re-purposed slot: the smoke utterance names it, so the gate decodes with it."""
    from asrcore.model import add_locale, export

    base = checkpoint_ref(read_checkpoint(embedded_base()), "embedded")
    made = add_locale.run(AddLocaleRequest(base=base, locale="se-NO", neighbour="bg-BG", way="alias", num_prompts=128, out=str(tmp_path / "base")), Watch(tmp_path / "job"))
    smoke = {"se": first_rows(sets["bg"], 1, target_lang="se-NO", lang="se-NO")}
    result = export.run(request_for(smoke, tmp_path / "out", "nemo", Path(made.checkpoint.path), smoke_utterances=1), Reporter(tmp_path))
    slots = read_checkpoint(Path(result.path)).prompt_dictionary
    assert slots["se-NO"] == slots["bg-BG"]
    assert result.locales == ("se-NO",)


def test_every_artefact_has_a_card_and_checksums_that_hold(sets: dict[str, Path], tmp_path: Path) -> None:
    from asrcore.model import export

    export.run(request_for(sets, tmp_path / "out", "nemo", smoke_utterances=1), Reporter(tmp_path))
    sums = dict(line.split("  ")[::-1] for line in (tmp_path / "out/SHA256SUMS").read_text(encoding="utf-8").splitlines())
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()} - {"SHA256SUMS"}
    assert {"README.md", "export.json", "model.nemo", "deploy/README.md", "deploy/riva.sh"} <= files
    assert sums == {name: io.sha256_file(tmp_path / "out" / name) for name in files}
    assert (tmp_path / "out/README.md").read_text(encoding="utf-8").startswith("---\n")


@pytest.mark.parametrize("damage", damaged_nemo())
def test_a_nemo_export_that_is_not_the_checkpoint_is_refused_and_leaves_nothing(
    sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Any], None]
) -> None:
    """NeMo's own `model.export()` drops `prompt_kernel` without a word; older exports elsewhere had left context 70."""
    from asrcore.model import export, export_nemo

    restore = export_nemo.restore

    def broken(path: Path) -> Any:
        model = restore(path)
        damage(model)
        return model

    monkeypatch.setattr(export_nemo, "restore", broken)
    with pytest.raises(ToolFault) as caught:
        export.run(request_for(sets, tmp_path / "out", "nemo", smoke_utterances=1), Reporter(tmp_path))
    assert caught.value.code == "export_not_identical"
    assert caught.value.problems
    assert list(tmp_path.glob("*out*")) == []


def test_a_nemo_export_that_is_cut_is_refused_and_leaves_nothing(sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused_when_damaged("nemo", sets, tmp_path, monkeypatch, cut("model.nemo"))


def test_a_model_that_says_too_little_on_the_smoke_set_proves_nothing(
    sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar is raised above what the base says, since no checkpoint at hand is silent for certain."""
    from asrcore.model import export, export_smoke

    monkeypatch.setattr(export_smoke, "MIN_TOKENS_PER_CLIP", 1000)
    with pytest.raises(ToolFault) as caught:
        export.run(request_for(sets, tmp_path / "out", "nemo", smoke_utterances=1), Reporter(tmp_path))
    assert caught.value.code == "export_unprovable"
    assert not (tmp_path / "out").exists()


def refused(request: Any, folder: Path) -> AsrtuneError:
    from asrcore.model import export

    with pytest.raises(AsrtuneError) as caught:
        export.run(request, Reporter(folder))
    assert not (folder / "out").exists()
    return caught.value


@pytest.mark.parametrize("target", ["transformers", "onnx"])
def test_a_smoke_set_of_one_locale_is_too_narrow_for_other_runtimes(sets: dict[str, Path], tmp_path: Path, target: str) -> None:
    error = refused(request_for({"bg": sets["bg"]}, tmp_path / "out", target), tmp_path)
    assert isinstance(error, NotReadyError)
    assert error.code == "smoke_too_narrow"


def test_a_smoke_set_without_a_usable_utterance_is_refused(sets: dict[str, Path], tmp_path: Path) -> None:
    rows = [json.loads(line) | {"_skipme": True} for line in sets["bg"].read_text(encoding="utf-8").splitlines()[:2]]
    skipped = sets["bg"].with_name("skipped.json")
    skipped.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert refused(request_for({"bg": skipped}, tmp_path / "out", "nemo"), tmp_path).code == "smoke_empty"


@pytest.mark.parametrize("context", [(70, 6), (56, 5)])
def test_a_chunk_size_or_left_context_that_the_checkpoint_never_had_is_refused(sets: dict[str, Path], tmp_path: Path, context: tuple[int, int]) -> None:
    error = refused(request_for(sets, tmp_path / "out", "onnx", att_contexts=((56, 6), context)), tmp_path)
    assert isinstance(error, UsageError)
    assert error.code == "att_context_untrained"
    assert str(list(context)) in error.message


def test_the_disk_is_asked_before_anything_is_loaded(sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asrcore.model import export

    monkeypatch.setattr("asrcore.io.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    monkeypatch.setattr(export, "restore", lambda _: pytest.fail("the checkpoint was opened"))
    assert refused(request_for(sets, tmp_path / "out", "onnx"), tmp_path).code == "disk_full"


def test_a_checkpoint_that_changed_since_the_call_is_refused(sets: dict[str, Path], tmp_path: Path) -> None:
    request = request_for(sets, tmp_path / "out", "nemo")
    changed = request.model_copy(update={"checkpoint": request.checkpoint.model_copy(update={"sha256": "0" * 64})})
    assert refused(changed, tmp_path).code == "fingerprint_mismatch"


def test_onnx_without_its_packages_names_the_extra(sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asrcore.model import export

    find = export.importlib.util.find_spec
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name, *rest: None if name == "onnxruntime" else find(name, *rest))
    error = refused(request_for(sets, tmp_path / "out", "onnx"), tmp_path)
    assert error.code == "export_extra_missing"
    assert "asrtune[export]" in error.next_step
