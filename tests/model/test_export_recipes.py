"""Scripts and configs for other people's servers: they name what is there, say whether they were run, and are programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from asrcore.export_requests import ExportTarget
from asrcore.model.export_recipes import NOT_RUN, RUN, recipes

META = {
    "chunk_size_ms": "560", "cache_last_channel_dim1": "6", "cache_last_channel_dim2": "56", "cache_last_channel_dim3": "144", "cache_last_time_dim1": "6",
    "cache_last_time_dim2": "144", "cache_last_time_dim3": "8", "feat_dim": "128", "pred_hidden": "160", "pred_rnn_layers": "2", "vocab_size": "1024",
}  # fmt: skip
CHUNKS = {"chunk_560ms": META, "chunk_80ms": META | {"chunk_size_ms": "80"}}
WANTED: dict[ExportTarget, set[str]] = {
    "nemo": {"air_gapped.sh", "riva.sh", "nim_stock_weights.sh"}, "transformers": {"air_gapped.sh"},
    "onnx": {"air_gapped.sh", "sherpa_onnx_server.sh", "jetson.sh", "triton/install.sh"},
}  # fmt: skip


def written(folder: Path, target: ExportTarget) -> Path:
    for path, text in recipes(target, CHUNKS if target == "onnx" else {}, "a" * 64).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("target", ["nemo", "transformers", "onnx"])
def test_every_script_is_one_that_a_shell_can_read_and_says_whether_it_was_run(tmp_path: Path, target: ExportTarget) -> None:
    deploy = written(tmp_path, target) / "deploy"
    assert {path.relative_to(deploy).as_posix() for path in deploy.rglob("*.sh")} == WANTED[target]
    overview = (deploy / "README.md").read_text(encoding="utf-8")
    for path in deploy.rglob("*.sh"):
        assert subprocess.run(["bash", "-n", path], capture_output=True, check=False).returncode == 0, path
        text = path.read_text(encoding="utf-8")
        assert (NOT_RUN in text) != (RUN in text)
        assert f"deploy/{path.relative_to(deploy).as_posix()}" in overview


def run(folder: Path, *command: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PATH": f"{path}{os.pathsep}{os.environ['PATH']}"} if path else {})
    return subprocess.run(["bash", *command], cwd=folder.parent, env=environment, capture_output=True, text=True, check=False)


def program(folder: Path, name: str) -> Path:
    """A program that prints what it was given, an argument a line."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n", encoding="utf-8")
    (folder / name).chmod(0o755)
    return folder


def test_the_server_of_sherpa_onnx_gets_the_files_of_one_chunk_folder_and_its_own_tail(tmp_path: Path) -> None:
    folder = written(tmp_path / "out", "onnx")
    programs = program(tmp_path / "bin", "sherpa-onnx-online-websocket-server")
    said = run(folder, "out/deploy/sherpa_onnx_server.sh", "chunk_80ms", "7000", path=programs).stdout.splitlines()
    assert {"--encoder=chunk_80ms/encoder.onnx", "--tokens=chunk_80ms/tokens.txt", "--port=7000", "--end-tail-padding=0.18"} <= set(said)
    assert "--end-tail-padding=0.66" in run(folder, "out/deploy/sherpa_onnx_server.sh", path=programs).stdout
    wrong = run(folder, "out/deploy/sherpa_onnx_server.sh", "chunk_9ms", path=programs)
    assert (wrong.returncode, "chunk_560ms chunk_80ms" in wrong.stderr) == (2, True)


def test_a_model_repository_for_triton_holds_each_graph_with_its_config_and_its_weights(tmp_path: Path) -> None:
    folder = written(tmp_path / "out", "onnx")
    (folder / "chunk_80ms").mkdir()
    for name in ("encoder.onnx", "encoder.data", "decoder.onnx", "joiner.onnx"):
        (folder / "chunk_80ms" / name).write_text(name, encoding="utf-8")
    assert run(folder, "out/deploy/triton/install.sh", "chunk_80ms", str(tmp_path / "models")).returncode == 0
    found = {path.relative_to(tmp_path / "models").as_posix() for path in (tmp_path / "models").rglob("*") if path.is_file()}
    assert found == {
        *(f"chunk_80ms_{name}/{file}" for name in ("encoder", "decoder", "joiner") for file in ("config.pbtxt", "1/model.onnx")), "chunk_80ms_encoder/1/encoder.data",
    }  # fmt: skip
    config = (tmp_path / "models/chunk_80ms_encoder/config.pbtxt").read_text(encoding="utf-8")
    assert config.startswith('name: "chunk_80ms_encoder"\n')
    assert (config.count("{"), config.count("[")) == (config.count("}"), config.count("]"))
    assert config.count("zero_data: true") == 3


def test_a_damaged_artefact_is_not_packed_for_a_machine_without_a_network(tmp_path: Path) -> None:
    folder = written(tmp_path / "out", "nemo")
    programs = program(tmp_path / "bin", "python3")
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  deploy/riva.sh\n", encoding="utf-8")
    assert run(folder, "out/deploy/air_gapped.sh", "pack", path=programs).returncode != 0
    sums = subprocess.run(["sha256sum", "deploy/riva.sh"], cwd=folder, capture_output=True, text=True, check=True).stdout
    (folder / "SHA256SUMS").write_text(sums, encoding="utf-8")
    said = run(folder, "out/deploy/air_gapped.sh", "pack", path=programs).stdout.split()
    assert said[:5] == ["-m", "pip", "download", "--dest", "../wheels"]
    assert "asrtune" in said
