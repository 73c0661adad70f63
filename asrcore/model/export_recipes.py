"""Files of an artefact's `deploy/` folder: scripts and configs for the servers of other projects, rendered with the artefact's own names, shapes and digest.

Each says in its first lines whether it was run, and with which version, or is rendered from the vendor's documentation alone. What serves small deployments is
`asrtune serve`; these are for the rest (docs/concepts/serving.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from asrcore.export_requests import ExportTarget

RUN = "Run with sherpa-onnx-bin 2.0.1 on Linux x86-64 (the server answers and keeps up: bench/bench_serve.py of asrtune)."
NOT_RUN = "NOT RUN by those who wrote it: rendered from the vendor's documentation. Versions move; check it against the vendor's page."
PACKAGES: Mapping[ExportTarget, str] = {"nemo": "asrtune", "transformers": "'transformers>=5.13' torch soundfile", "onnx": "sherpa-onnx sherpa-onnx-bin soundfile"}
"""What a machine needs to run an artefact."""
_HEAD = "#!/usr/bin/env bash\n# {what}\n# {state}\n# usage: bash deploy/{name} {usage}\nset -euo pipefail\ncd \"$(dirname \"$0\")/..\"\n"
TYPES = {"FP32": "TYPE_FP32", "INT64": "TYPE_INT64", "INT32": "TYPE_INT32"}


def recipes(target: ExportTarget, chunks: Mapping[str, Mapping[str, str]], digest: str) -> dict[str, str]:
    """Path below the artefact -> text. `chunks`: name of each chunk folder -> metadata of its encoder (onnx only). `digest`: sha256 of the checkpoint."""
    files = {"deploy/air_gapped.sh": _air_gapped(target)}
    if target == "nemo":
        files |= {"deploy/riva.sh": _riva(digest), "deploy/nim_stock_weights.sh": _nim()}
    if target == "onnx":
        files |= {"deploy/sherpa_onnx_server.sh": _sherpa(chunks), "deploy/jetson.sh": _jetson(next(iter(chunks))), "deploy/triton/install.sh": _triton_install()}
        for chunk, meta in chunks.items():
            files |= {f"deploy/triton/{chunk}/{name}/config.pbtxt": text for name, text in triton_configs(chunk, meta).items()}
    return {"deploy/README.md": _overview(files), **files}


def _overview(files: Mapping[str, str]) -> str:
    scripts = {path: text.splitlines() for path, text in files.items() if path.endswith(".sh")}
    rows = "\n".join(f"| `{path}` | {lines[1].removeprefix('# ')} | {lines[2].removeprefix('# ')} |" for path, lines in scripts.items())
    return (
        f"# Deploying this artefact\n\n| file | what | state |\n| --- | --- | --- |\n{rows}\n\nWhatever serves it: play the same clips through it in at least two "
        "languages that are not that of prompt slot 0 and once in `auto`, and compare with `asrtune transcribe`. A server that drops the prompt still writes "
        "plausible text.\n"
    )


def _script(name: str, what: str, state: str, usage: str, body: str) -> str:
    return _HEAD.format(what=what, state=state, name=name, usage=usage) + body


def _air_gapped(target: ExportTarget) -> str:
    return _script(
        "air_gapped.sh", "Use on a machine without a network: `pack` on one that has it (same system and Python), `install` on the other.", NOT_RUN, "pack|install",
        f"""sha256sum --check --quiet SHA256SUMS
wheels=${{WHEELS:-../wheels}}
case "${{1:-}}" in
  pack) python3 -m pip download --dest "$wheels" {PACKAGES[target]} ;;
  install)
    python3 -m venv ../venv
    ../venv/bin/pip install --no-index --find-links "$wheels" {PACKAGES[target]}
    echo 'Set HF_HUB_OFFLINE=1 in the environment of what runs it.' ;;
  *) echo 'pass pack or install' >&2; exit 2 ;;
esac
""",
    )  # fmt: skip


def _riva(digest: str) -> str:
    name = f"asr_{digest[:8]}"
    return _script(
        "riva.sh", "NVIDIA Riva / speech NIM with these weights: nemo2riva, riva-build (26.10 syntax), riva-deploy, on the GPU type that will serve.",
        NOT_RUN + " Whether nemo2riva takes EncDecRNNTBPEModelWithPrompt is not documented: ask NVIDIA before you plan on it.", "MODEL_REPOSITORY",
        f"""repository=${{1:?the folder for the model repository}}
mkdir -p ../riva
nemo2riva --out ../riva/{name}.riva model.nemo
riva-build --config-path=pkg://servicemaker.configs.asr --config-name=streaming \\
  output_path=../riva/{name}.rmir "source_path=[../riva/{name}.riva]" name={name} decoder=greedy
riva-deploy ../riva/{name}.rmir "$repository"
""",
    )  # fmt: skip


def _nim() -> str:
    return _script(
        "nim_stock_weights.sh", "NVIDIA's own container with the PUBLISHED weights, as a yardstick beside these; needs a GPU and NGC_API_KEY.", NOT_RUN, "[PORT]",
        """docker run --rm --gpus all --shm-size=8g -e NGC_API_KEY -e NIM_TAGS_SELECTOR="name=nemotron-asr-streaming,type=multi" \\
  -p "${1:-9000}:9000" -p 50051:50051 nvcr.io/nim/nvidia/nemotron-asr-streaming:latest
""",
    )  # fmt: skip


def _sherpa(chunks: Mapping[str, Mapping[str, str]]) -> str:
    tails = "\n".join(f"  {chunk}) tail={int(meta['chunk_size_ms']) / 1000 + 0.1:.2f} ;;" for chunk, meta in chunks.items())
    return _script(
        "sherpa_onnx_server.sh", "sherpa-onnx's streaming WebSocket server (pip install sherpa-onnx-bin). It takes no language: every stream runs in `auto`.", RUN,
        "[CHUNK_FOLDER [PORT]]",
        f"""chunk=${{1:-{next(iter(chunks))}}}
case "$chunk" in
{tails}
  *) echo "one of: {' '.join(chunks)}" >&2; exit 2 ;;
esac
exec sherpa-onnx-online-websocket-server --port="${{2:-6006}}" --tokens="$chunk/tokens.txt" --encoder="$chunk/encoder.onnx" --decoder="$chunk/decoder.onnx" \\
  --joiner="$chunk/joiner.onnx" --num-work-threads="${{THREADS:-2}}" --num-threads=1 --max-batch-size="${{STREAMS:-16}}" --enable-endpoint=false \\
  --end-tail-padding="$tail" --log-file="${{LOG:-/dev/null}}"
""",
    )  # fmt: skip


def _jetson(chunk: str) -> str:
    return _script(
        "jetson.sh", "The same server on a Jetson (aarch64 wheels, CPU). Its GPU needs sherpa-onnx built against JetPack's onnxruntime.", NOT_RUN, "[CHUNK_FOLDER [PORT]]",
        f"""[ "$(uname -m)" = aarch64 ] || {{ echo 'this machine is no Jetson' >&2; exit 2; }}
[ -d ../venv ] || {{ python3 -m venv ../venv && ../venv/bin/pip install sherpa-onnx sherpa-onnx-bin; }}
PATH="$PWD/../venv/bin:$PATH" THREADS="${{THREADS:-$(nproc)}}" exec bash deploy/sherpa_onnx_server.sh "${{1:-{chunk}}}" "${{2:-6006}}"
""",
    )  # fmt: skip


def _triton_install() -> str:
    return _script(
        "triton/install.sh", "A model repository for Triton's onnxruntime back end: Triton keeps the encoder's caches between the chunks of a sequence.",
        NOT_RUN + " Features and the greedy loop over decoder and joiner are the client's.", "CHUNK_FOLDER MODEL_REPOSITORY",
        """cd ..
chunk=${1:?a chunk folder} repository=${2:?the folder for the model repository}
for name in encoder decoder joiner; do
  mkdir -p "$repository/${chunk}_$name/1"
  cp "deploy/triton/$chunk/$name/config.pbtxt" "$repository/${chunk}_$name/"
  cp "$chunk/$name.onnx" "$repository/${chunk}_$name/1/model.onnx"
  [ ! -f "$chunk/$name.data" ] || cp "$chunk/$name.data" "$repository/${chunk}_$name/1/"
done
""",
    )  # fmt: skip


Tensor = tuple[str, str, tuple[int, ...]]
"""Name, type, dimensions; -1 where it varies."""


def triton_configs(chunk: str, meta: Mapping[str, str]) -> dict[str, str]:
    """Model name -> config.pbtxt. One stream a request (`max_batch_size: 0`), since the graphs' counts have no dimension beside the batch.

    Syntax: Triton's model configuration and its "implicit state management".
    """
    channel, time = (tuple(int(meta[f"{cache}_dim{n}"]) for n in (1, 2, 3)) for cache in ("cache_last_channel", "cache_last_time"))
    width, hidden, layers, vocabulary = channel[2], int(meta["pred_hidden"]), int(meta["pred_rnn_layers"]), int(meta["vocab_size"])
    state = (layers, 1, hidden)
    caches: list[Tensor] = [("cache_last_channel", "FP32", (1, *channel)), ("cache_last_time", "FP32", (1, *time)), ("cache_last_channel_len", "INT64", (1,))]
    return {
        "encoder": _config(
            f"{chunk}_encoder", [("audio_signal", "FP32", (1, int(meta["feat_dim"]), -1)), ("length", "INT64", (1,)), ("prompt_index", "INT64", (1,))],
            [("outputs", "FP32", (1, width, -1)), ("encoded_lengths", "INT64", (1,))], caches,
        ),
        "decoder": _config(
            f"{chunk}_decoder", [("targets", "INT32", (1, -1)), ("target_length", "INT32", (1,)), ("hidden", "FP32", state), ("cell", "FP32", state)],
            [("outputs", "FP32", (1, hidden, -1)), ("prednet_lengths", "INT32", (1,)), ("hidden_next", "FP32", state), ("cell_next", "FP32", state)],
        ),
        "joiner": _config(
            f"{chunk}_joiner", [("encoder_outputs", "FP32", (1, width, -1)), ("decoder_outputs", "FP32", (1, hidden, -1))],
            [("outputs", "FP32", (1, -1, -1, vocabulary + 1))],
        ),
    }  # fmt: skip


def _config(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], states: Sequence[Tensor] = ()) -> str:
    def tensors(key: str, found: Sequence[Tensor]) -> str:
        entries = ",\n".join(f'  {{ name: "{name}", data_type: {TYPES[kind]}, dims: [ {", ".join(map(str, dims))} ] }}' for name, kind, dims in found)
        return f"{key} [\n{entries}\n]\n"

    text = f'name: "{name}"\nbackend: "onnxruntime"\nmax_batch_size: 0\n{tensors("input", inputs)}{tensors("output", outputs)}'
    if not states:
        return text
    kept = "".join(
        f'  state {{\n    input_name: "{name}", output_name: "{_next(name)}", data_type: {TYPES[kind]}, dims: [ {", ".join(map(str, dims))} ]\n'
        f'    initial_state {{ name: "empty", data_type: {TYPES[kind]}, dims: [ {", ".join(map(str, dims))} ], zero_data: true }}\n  }}\n'
        for name, kind, dims in states
    )
    return text + f"sequence_batching {{\n  max_sequence_idle_microseconds: 60000000\n{kept}}}\n"


def _next(name: str) -> str:
    """The graph's output that is this input of the next step."""
    stem = name.removesuffix("_len")
    return f"{stem}_next{name.removeprefix(stem)}"
