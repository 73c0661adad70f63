"""`asrtune upload`: whole artefacts only, by a person at a terminal, with the token of the environment. The hub is a stand-in."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from asrcore import io
from asrcore.errors import AsrtuneError
from asrcore.export import upload
from asrcore.fingerprint import SUMS, check_sums
from asrcore.jobs import Ledger
from asrcore.workspace import Workspace
from asrtune import cli_person

TOKEN = "hf_a_token_of_some_length"


class Hub(ModuleType):
    """huggingface_hub as far as an upload needs it: keeps what it was given, or raises."""

    def __init__(self, raises: Exception | None = None) -> None:
        super().__init__("huggingface_hub")
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.raises = raises

    def HfApi(self, token: str) -> Hub:  # noqa: N802 - the library's name
        self.seen.append(("token", {"token": token}))
        return self

    def create_repo(self, repository: str, **options: Any) -> None:
        if self.raises:
            raise self.raises
        self.seen.append((repository, options))

    def upload_folder(self, **options: Any) -> SimpleNamespace:
        self.seen.append(("folder", options))
        return SimpleNamespace(commit_url="https://huggingface.co/acme/greek/commit/1")


class Refused(OSError):
    response = SimpleNamespace(status_code=403)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    fake, errors = Hub(), ModuleType("huggingface_hub.errors")
    vars(errors).update(HfHubHTTPError=Refused, HTTPError=ValueError)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return fake


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A person at a terminal who types what stands in the list; the environment has a token."""
    answers: list[str] = []
    monkeypatch.setattr(cli_person, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True), stdout=SimpleNamespace(isatty=lambda: True)))
    monkeypatch.setattr(cli_person.typer, "prompt", lambda *words: answers.pop(0))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return answers


@pytest.fixture(params=["nemo", "onnx"])
def folder(ws: Workspace, request: pytest.FixtureRequest) -> Path:
    """The folder of export_1, two files deep for onnx."""
    place = ws.folder("exports", "export_1")
    name = "model.nemo" if request.param == "nemo" else "chunk_80ms/encoder.onnx"
    for file in (name, "README.md", "export.json"):
        io.write_text(place / file, file)
    io.write_text(place / SUMS, "".join(f"{io.sha256_file(place / file)}  {file}\n" for file in (name, "README.md", "export.json")))
    with Ledger.open(ws) as ledger:
        ledger.put("export", "export_1", {
            "target": request.param, "path": str(place / name if request.param == "nemo" else place), "sha256": "0" * 64, "compared_utterances": 1,
            "compared_tokens": 9, "identical": 1, "prompt_changes_output": True,
        })  # fmt: skip
    return place


def test_a_whole_artefact_goes_up_as_one_commit_with_the_token_of_the_environment(
    folder: Path, hub: Hub, person: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    person.append("acme/greek")
    assert cli_person.upload_export("export_1", "acme/greek", public=False) == 0
    (_, token), (repository, options), (_, sent) = hub.seen
    assert (token, repository, options) == ({"token": TOKEN}, "acme/greek", {"private": True, "exist_ok": True})
    assert (sent["folder_path"], sent["repo_id"]) == (folder, "acme/greek")
    assert sorted(sent["allow_patterns"]) == sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    said = capsys.readouterr()
    assert "commit/1" in said.out
    assert TOKEN not in said.out + said.err


def test_nothing_goes_up_when_something_else_was_typed(folder: Path, hub: Hub, person: list[str]) -> None:
    person.append("yes")
    assert cli_person.upload_export("export_1", "acme/greek", public=True) == 3
    assert hub.seen == []


def cut(folder: Path) -> None:
    file = next(path for path in folder.rglob("*") if path.suffix in (".nemo", ".onnx"))
    file.write_bytes(file.read_bytes()[:-3])


def without_sums(folder: Path) -> None:
    (folder / SUMS).unlink()


def with_a_stranger(folder: Path) -> None:
    (folder / "private.wav").write_bytes(b"RIFF")


@pytest.mark.parametrize("damage", [cut, without_sums, with_a_stranger])
def test_an_artefact_that_is_not_what_its_gate_saw_is_refused_before_anybody_is_asked(folder: Path, hub: Hub, person: list[str], damage: Any) -> None:
    assert check_sums(folder) == []
    damage(folder)
    assert len(check_sums(folder)) == 1
    assert cli_person.upload_export("export_1", "acme/greek", public=False) == 3
    assert hub.seen == []


@pytest.mark.parametrize("repository", ["greek", "acme/", "/greek", "acme/greek/more", "../greek", "acme/gr..eek", "acme/greek.git", "a b/c", "acme/greek\n"])
def test_a_name_that_is_no_repository_is_refused(repository: str) -> None:
    with pytest.raises(AsrtuneError, match="upload_repository_invalid"):
        upload.require_repository(repository)


def test_without_a_token_in_the_environment_nothing_is_asked_or_sent(
    folder: Path, hub: Hub, person: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that a login has stored is not used either: the stand-in hub is never asked for one."""
    monkeypatch.setenv("HF_TOKEN", " ")
    assert cli_person.upload_export("export_1", "acme/greek", public=False) == 4
    assert hub.seen == []


def test_without_a_terminal_nobody_uploads(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from asrtune.cli import app

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert CliRunner().invoke(app, ["upload", "export_1", "acme/greek"]).exit_code == 6
    assert hub.seen == []


@pytest.mark.parametrize(("error", "code", "again"), [(Refused(), "upload_refused", False), (ConnectionError(), "hub_unreachable", True), (ValueError(), "hub_unreachable", True)])
def test_what_the_hub_says_is_a_coded_error(folder: Path, hub: Hub, error: Exception, code: str, again: bool) -> None:
    hub.raises = error
    with pytest.raises(AsrtuneError, match=code) as caught:
        upload.upload(folder, "acme/greek", TOKEN, public=False)
    assert caught.value.retryable is again
    assert TOKEN not in str(caught.value)
