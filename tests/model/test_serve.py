"""Live serving against the offline exact engine, on the embedded base and embedded synthetic speech: the same features, chunks, words."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from asrcore.audio import decode
from asrcore.checkpoint import embedded_base, read_checkpoint
from asrcore.embedded import shipped
from asrcore.endpoints import SENTENCE_PAUSE_S
from asrcore.manifest import load_rows

pytestmark = pytest.mark.heavy
SETS = ("en-US_guard_test", "es-ES_guard_test", "bg-BG_guard_test", "el-GR_clean_test")
CONTEXTS = ((56, 0), (56, 3), (56, 13))
MESSAGE = 2 * 3217
"""Bytes of a message: no multiple of a mel frame, so every border falls differently."""


@pytest.fixture(scope="module")
def model() -> Any:
    from asrcore.model.restore import restore

    return restore(embedded_base())


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bytes]]:
    """(language, PCM16 at 16 kHz) of two utterances of each of four languages."""
    manifests = shipped.unpack(tmp_path_factory.mktemp("sets"))
    rows = [row for name in SETS for row in load_rows(manifests[name])[:2]]
    return [(row.utterance.target_lang, pcm_of(row.audio)) for row in rows]


def pcm_of(path: Path) -> bytes:
    return (np.clip(np.round(decode(path) * 32768), -32768, 32767)).astype("<i2").tobytes()


def samples_of(pcm: bytes) -> Any:
    return np.frombuffer(pcm, "<i2").astype(np.float32) / 32768


def offline(model: Any, clips: list[tuple[str, bytes]], context: tuple[int, int], *, auto: bool = False) -> list[Any]:
    """What `transcribe` decodes for each clip alone (batch 1)."""
    from asrcore.model.restore import prompt_slots
    from asrcore.model.stream import StreamingDecoder, StreamItem

    slots = prompt_slots(model)
    items = [
        StreamItem(n, lambda pcm=pcm: samples_of(pcm), slots["auto" if auto else tag], len(pcm) / 32000)
        for n, (tag, pcm) in enumerate(clips)
    ]
    return StreamingDecoder(model, context, batch_size=1, pause_s=SENTENCE_PAUSE_S).decode(items)


def live(
    model: Any, clips: list[tuple[str, bytes]], contexts: list[tuple[int, int]], places: int, message: int = MESSAGE
) -> list[tuple[list[int], list[int]]]:
    """(tokens, frames) of each clip, all fed in turns, a message each, to one live engine."""
    from asrcore.model.restore import prompt_slots
    from asrcore.model.serve_engine import LiveEngine

    slots = prompt_slots(model)
    engine = LiveEngine(model, tuple(dict.fromkeys(contexts)), places)
    found: list[tuple[list[int], list[int]]] = [([], []) for _ in clips]
    waiting, at = list(range(len(clips))), dict[int, int]()
    while waiting or engine.streams:
        while waiting and len(engine.streams) < places:
            key = waiting.pop(0)
            engine.open(key, slots[clips[key][0]], 16_000, contexts[key % len(contexts)])
            at[key] = 0
        for key, stream in engine.streams.items():
            pcm = clips[key][1]
            if at[key] < len(pcm):
                stream.feed(pcm[at[key] : at[key] + message])
                at[key] += message
            else:
                stream.end()
        for stream in engine.round():
            found[stream.key][0].extend(stream.tokens)
            found[stream.key][1].extend(stream.frames)
            stream.tokens.clear()
            stream.frames.clear()
            if stream.done:
                assert stream.heard_s == pytest.approx(len(clips[stream.key][1]) / 32000)
                engine.close(stream.key)
    return found


@pytest.mark.parametrize("message", [2 * 100, MESSAGE, 2 * 16_000])
def test_features_of_small_appends_are_those_of_the_whole_file(model: Any, clips: list[tuple[str, bytes]], message: int) -> None:
    """Trap 3.24."""
    import torch

    from asrcore.model.serve_engine import LiveEngine
    from asrcore.model.stream import mel_features

    pcm = clips[0][1][: 2 * 16_000 * 2 + 2 * 77]
    engine = LiveEngine(model, ((56, 0),), 1)
    pieces: list[Any] = []
    compute = engine._compute

    def keep(due: list[tuple[Any, int]]) -> None:
        before = due[0][0].computed
        compute(due)
        stream = due[0][0]
        pieces.append(stream.features[:, before - stream.dropped :].clone())

    engine._compute = keep  # type: ignore[method-assign]
    engine.open(0, 0, 16_000, (56, 0))
    stream = engine.streams[0]
    for at in range(0, len(pcm), message):
        stream.feed(pcm[at : at + message])
        while engine.round():
            pass
    stream.end()
    while not stream.done:
        engine.round()
    with torch.inference_mode():
        whole = mel_features(model, samples_of(pcm))
    found = torch.cat(pieces, dim=1)
    assert found.shape[1] >= whole.shape[1] - 8, "a tail below one encoder frame is not decoded"
    assert (found - whole[:, : found.shape[1]]).abs().max() < 1e-4
    assert stream.features.shape[1] < 40, "old frames are let go"


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_live_stream_writes_the_tokens_of_the_whole_file_at_the_same_frames(
    model: Any, clips: list[tuple[str, bytes]], context: tuple[int, int]
) -> None:
    wanted = offline(model, clips, context)
    assert sum(len(decoded.tokens) for decoded in wanted) >= 3 * len(clips), "a model that says nothing proves nothing"
    assert live(model, clips, [context], places=1) == [(list(decoded.tokens), list(decoded.frames)) for decoded in wanted]


def test_a_stream_of_many_sentences_writes_the_tokens_of_the_whole_file_and_goes_on_after_every_pause(
    model: Any, clips: list[tuple[str, bytes]]
) -> None:
    """Longer than the encoder can look back. Without a new beginning after a pause the embedded base falls silent after a sentence or two."""
    spoken = [pcm + bytes(2 * 32_000) for tag, pcm in clips if tag == clips[2][0]]
    long = [(clips[2][0], b"".join(spoken) * 3)]
    assert len(long[0][1]) / 32000 > 2 * 56 * 0.08
    for context in ((56, 0), (56, 13)):
        decoded = offline(model, long, context)[0]
        third = len(long[0][1]) / 32000 / 3
        assert all(sum(n * third <= frame * 0.08 < (n + 1) * third for frame in decoded.frames) >= 3 for n in range(3))
        assert live(model, long, [context], places=1) == [(list(decoded.tokens), list(decoded.frames))]


def test_streams_of_several_languages_and_latencies_together_say_what_each_says_alone(model: Any, clips: list[tuple[str, bytes]]) -> None:
    """Trap 3.10. Three places for eight clips: every place is used again, so a state that were left behind would show."""
    alone = [offline(model, [clip], CONTEXTS[n % 3])[0] for n, clip in enumerate(clips)]
    for places in (3, 8):
        together = live(model, clips, list(CONTEXTS), places)
        assert [tokens for tokens, _ in together] == [list(decoded.tokens) for decoded in alone]


@pytest.mark.parametrize("samples", [0, 1, 100, 200, 1279, 1281, 8000, 17919, 17920, 17921, 18120])
def test_a_stream_of_any_length_ends_as_a_file_of_that_length(model: Any, clips: list[tuple[str, bytes]], samples: int) -> None:
    clip = [(clips[0][0], clips[0][1][: 2 * samples])]
    for context in ((56, 0), (56, 13)):
        wanted = offline(model, clip, context)[0].tokens if samples else ()
        assert tuple(live(model, clip, [context], 1)[0][0]) == tuple(wanted)


def test_a_long_live_stream_keeps_a_state_of_fixed_size(model: Any, clips: list[tuple[str, bytes]]) -> None:
    """Trap 3.25."""
    from asrcore.model.serve_engine import LiveEngine

    engine = LiveEngine(model, ((56, 13),), 1)
    engine.open(0, 0, 16_000, (56, 13))
    stream, sizes = engine.streams[0], list[tuple[int, int, int]]()
    for _ in range(6):
        stream.feed(clips[0][1])
        while engine.round():
            stream.tokens.clear()
            stream.frames.clear()
        sizes.append((stream.features.shape[1], len(stream.chunks), sum(len(part) for part in stream.samples._parts)))
    assert max(features for features, _, _ in sizes) <= 2 * 112 + 9
    assert max(held for _, _, held in sizes) < 2 * 16_000
    assert {waiting for _, waiting, _ in sizes} == {0}
    assert engine.decoder.times.steps == []


class Pieces:
    """A tokenizer of given pieces: the id is the index."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces

    def ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.pieces[i] for i in ids]

    def ids_to_text(self, ids: list[int]) -> str:
        return "".join(self.ids_to_tokens(ids)).replace("▁", " ").strip()


@pytest.mark.parametrize("step", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    "pieces",
    [("▁one", "▁tw", "o", ".", "▁<el-GR>", "▁three"), tuple("おはようございます。今日はいい天気ですね。"), ("▁", "a", "b", "▁", "c")],
)
def test_live_words_joined_are_the_words_of_the_file(pieces: tuple[str, ...], step: int) -> None:
    from asrcore.model.serve import Words
    from asrcore.model.stream import Decoded
    from asrcore.model.transcribe import timed_words
    from asrcore.serve.segments import joined

    tokenizer, ids = Pieces(*pieces), list(range(len(pieces)))
    whole, languages = timed_words(tokenizer, Decoded(0, tuple(ids), tuple(2 * i for i in ids)))
    for heard in (0.0, 1000.0):  # never a pause, always a pause
        words, said, written = Words(tokenizer), [], set()
        for at in range(0, len(ids), step):
            part = ids[at : at + step]
            new, _, found = words.take(part, [2 * i for i in part], heard, done=at + step >= len(ids))
            said += new
            written |= set(found)
        assert joined(said) == " ".join(word.text for word in whole)
        assert written == set(languages)


async def caption(client: Any, url: str, language: str, latency: int, rate: int, pcm: bytes) -> str:
    async with client.ws_connect(f"{url}/v1/stream") as ws:
        await ws.send_str(json.dumps({"language": language, "latency_ms": latency, "sample_rate": rate}))
        for at in range(0, len(pcm), MESSAGE):
            await ws.send_bytes(pcm[at : at + MESSAGE])
        await ws.send_str('{"type": "end"}')
        messages = [json.loads(message.data) async for message in ws]
    assert messages[-1]["type"] == "done"
    assert messages[-1]["audio_s"] == pytest.approx(len(pcm) / 2 / rate, abs=0.01)
    return "".join(("" if m["glue"] else " ") + m["text"] for m in messages if m["type"] == "final").strip()


def embedded_settings(places: int) -> Any:
    from asrcore.serve.settings import Limits, Settings

    info = read_checkpoint(embedded_base())
    return Settings(checkpoint=info.path, name="embedded", slots=info.prompt_dictionary, contexts=CONTEXTS, default_context=(56, 3),
                    limits=Limits(max_connections=places))  # fmt: skip


def test_concurrent_connections_of_mixed_languages_latencies_and_rates_get_the_offline_transcripts(
    model: Any, clips: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    """The whole way: sockets, the front, the engine's process. Trap 3.10."""
    import aiohttp
    import soxr

    from asrcore.locales import latency_ms
    from asrcore.model.transcribe import timed_words
    from asrcore.serve.app import Server

    narrow = [
        (tag, np.round(soxr.resample(samples_of(pcm), 16_000, 8_000) * 32768).clip(-32768, 32767).astype("<i2").tobytes())
        for tag, pcm in clips[:3]
    ]
    wide: list[tuple[str, bytes]] = []
    for n, (tag, pcm) in enumerate(narrow):
        sf.write(tmp_path / f"{n}.wav", np.frombuffer(pcm, "<i2"), 8_000, subtype="PCM_16")
        wide.append((tag, decode(tmp_path / f"{n}.wav")))
    wanted = [offline(model, [clip], CONTEXTS[n % 3])[0] for n, clip in enumerate(clips)]
    wanted += [_alone(model, tag, audio, CONTEXTS[n % 3]) for n, (tag, audio) in enumerate(wide)]
    settings = embedded_settings(16)

    async def run() -> list[str]:
        server = Server(settings)
        url = await server.start()
        running = asyncio.create_task(server.serve_until_stopped())
        async with aiohttp.ClientSession() as client:
            jobs = [caption(client, url, tag, latency_ms(CONTEXTS[n % 3]), 16_000, pcm) for n, (tag, pcm) in enumerate(clips)]
            jobs += [caption(client, url, tag, latency_ms(CONTEXTS[n % 3]), 8_000, pcm) for n, (tag, pcm) in enumerate(narrow)]
            heard = await asyncio.gather(*jobs)
        server.stop()
        await running
        return heard

    texts = [" ".join(word.text for word in timed_words(model.tokenizer, decoded)[0]) for decoded in wanted]
    assert all(len(text) >= 3 for text in texts)
    assert asyncio.run(run()) == texts


@pytest.mark.slow
def test_bad_clients_and_ten_thousand_connects_cost_the_model_no_word_and_no_memory(model: Any, clips: list[tuple[str, bytes]]) -> None:
    """The engine's own process: broken clients of every kind beside good ones of four languages, then connects in a row, then the good ones again."""
    import random

    import aiohttp

    from asrcore.locales import latency_ms
    from asrcore.model.transcribe import timed_words
    from asrcore.serve.app import Server
    from tests.surfaces.test_serve_protocol import connects_leave_nothing_behind, misbehave, places_free

    wanted = [
        " ".join(word.text for word in timed_words(model.tokenizer, offline(model, [clip], CONTEXTS[n % 3])[0])[0]) for n, clip in enumerate(clips)
    ]
    assert all(len(text) >= 3 for text in wanted)

    async def run() -> None:
        server = Server(embedded_settings(64))
        url = await server.start()
        running = asyncio.create_task(server.serve_until_stopped())
        chance = random.Random(0)
        async with aiohttp.ClientSession() as client:
            for wave in range(8):
                bad = [misbehave(client, url, how, chance) for how in chance.choices(range(5), k=16)]
                good = [caption(client, url, tag, latency_ms(CONTEXTS[n % 3]), 16_000, pcm) for n, (tag, pcm) in enumerate(clips)]
                assert (await asyncio.gather(*good, *bad))[: len(good)] == wanted, f"wave {wave}"
                assert await places_free(server, 0)
            await connects_leave_nothing_behind(server, url, client, 10_000, 64 << 20)
            again = [caption(client, url, tag, latency_ms(CONTEXTS[n % 3]), 16_000, pcm) for n, (tag, pcm) in enumerate(clips)]
            assert await asyncio.gather(*again) == wanted
        server.stop()
        await running

    asyncio.run(run())


def _alone(model: Any, tag: str, audio: Any, context: tuple[int, int]) -> Any:
    from asrcore.model.restore import prompt_slots
    from asrcore.model.stream import StreamingDecoder, StreamItem

    item = StreamItem(0, lambda: audio, prompt_slots(model)[tag], len(audio) / 16_000)
    return StreamingDecoder(model, context, batch_size=1, pause_s=SENTENCE_PAUSE_S).decode([item])[0]


def test_the_model_is_asked_for_what_it_can_be_served_at(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from asrcore.errors import NotReadyError
    from asrcore.model.serve_engine import LiveEngine

    monkeypatch.setattr(model.preprocessor.featurizer, "normalize", "per_feature")
    with pytest.raises(NotReadyError, match="features_need_whole_file"):
        LiveEngine(model, ((56, 3),), 1)


def test_a_device_that_the_machine_does_not_have_is_the_error_of_the_start() -> None:
    import socket

    import torch

    from asrcore.errors import EnvironmentFault
    from asrcore.model.serve import Child
    from asrcore.serve import wire

    for device in ("cuda:99", *([] if torch.cuda.is_available() else ["cuda"])):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(wire.pack(wire.Load(checkpoint="x.nemo", places=1, contexts=((56, 3),), device=device)))
            with pytest.raises(EnvironmentFault, match="device_missing"):
                Child(theirs).run()
            assert isinstance(wire.report_of(*wire.Frames().feed(ours.recv(1 << 16))[0]), wire.Failed)


def test_a_checkpoint_that_is_cut_is_the_error_of_the_start(tmp_path: Path) -> None:
    """Its config is whole and is read without NeMo, so only opening the weights shows it."""
    import socket

    from asrcore.errors import NotReadyError
    from asrcore.model.serve import Child
    from asrcore.serve import wire

    whole = embedded_base().read_bytes()
    (tmp_path / "cut.nemo").write_bytes(whole[: len(whole) // 2])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(wire.pack(wire.Load(checkpoint=str(tmp_path / "cut.nemo"), places=1, contexts=((56, 3),))))
        with pytest.raises(NotReadyError, match="checkpoint_unreadable"):
            Child(theirs).run()
        told = wire.report_of(*wire.Frames().feed(ours.recv(1 << 16))[0])
    assert isinstance(told, wire.Failed)
    assert told.error.code == "checkpoint_unreadable"


def test_the_command_serves_until_it_is_asked_to_end_and_leaves_no_process(tmp_path: Path) -> None:
    import signal
    import subprocess
    import sys

    import httpx
    import psutil

    command = [sys.executable, "-m", "asrtune", "serve", "embedded", "--json", "--max-connections", "2"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert server.stdout is not None
    try:
        url = json.loads(server.stdout.readline())["url"]
        health = httpx.get(f"{url}/health").json()
        assert (health["status"], health["checkpoint"], health["max_connections"]) == ("ok", "embedded", 2)
        children = psutil.Process(server.pid).children(recursive=True)
        assert children
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    finally:
        server.kill()
