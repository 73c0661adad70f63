"""The page of `asrtune serve` in headless Chromium: a WAV as the microphone, a file, a refusal. The engine is the stand-in without a model, but for one
test that speaks (synthetic) into the embedded base."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import soundfile as sf

from asrcore.serve.app import Server
from tests.surfaces.test_serve_protocol import FAKE, SECRET, settings

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (found := shutil.which(name))), None)
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt install chromium)"),
]
PATIENCE_S = 120


class Page:
    """One tab, driven over the DevTools protocol."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws, self.count = ws, 0

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.count += 1
        await self.ws.send_json({"id": self.count, "method": method, "params": parameters})
        async for message in self.ws:
            answer = json.loads(message.data)
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]
        raise AssertionError("the browser is gone")

    async def value(self, script: str) -> Any:
        """What a script gives; a promise is waited for."""
        answer = await self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Waits in the page until a condition holds."""
        async with asyncio.timeout(PATIENCE_S):
            await self.value(
                f"new Promise(go => {{ const t = setInterval(() => {{ if ({condition}) {{ clearInterval(t); go(1); }} }}, 20); }})"
            )

    async def text(self, selector: str) -> list[str]:
        return await self.value(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)")


@asynccontextmanager
async def browsing(folder: Path, microphone: Path, engine: Sequence[str] = FAKE, **changes: Any) -> AsyncIterator[tuple[Page, Server]]:
    """A server and a browser that shows its page."""
    assert CHROMIUM is not None
    server = Server(settings(**changes), engine)
    url = await server.start()
    running = asyncio.create_task(server.serve_until_stopped())
    browser = await asyncio.create_subprocess_exec(
        CHROMIUM, "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-extensions",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={folder / 'profile'}", "--remote-debugging-port=0",
        "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={microphone}%noloop",
        *(["--no-sandbox"] if os.geteuid() == 0 else []), "about:blank", stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert browser.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            port = 0
            while not port:
                line = (await browser.stderr.readline()).decode("utf-8", "replace")
                assert line, "the browser did not start"
                port = int(found[1]) if (found := re.search(r"DevTools listening on ws://[\w.]+:(\d+)/", line)) else 0
        async with aiohttp.ClientSession() as client:
            async with client.get(f"http://127.0.0.1:{port}/json/list") as answer:
                target = next(tab for tab in await answer.json() if tab["type"] == "page")
            async with client.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as ws:
                page = Page(ws)
                await page.ask("Page.navigate", url=url)
                await page.until("document.querySelector('#microphone')?.disabled === false")
                yield page, server
    finally:
        browser.kill()
        await browser.wait()
        server.stop()
        await running


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """4 s of noise at 48 kHz."""
    path = tmp_path / "speech.wav"
    sf.write(path, np.random.default_rng(0).normal(0, 0.1, 4 * 48_000), 48_000, subtype="PCM_16")
    return path


async def test_the_microphone_shows_live_captions_and_their_latency(tmp_path: Path, recording: Path) -> None:
    async with browsing(tmp_path, recording) as (page, _):
        assert (await page.text("#model")) == ["Model: x"]
        await page.value("document.querySelector('#language').value = 'el-GR'; document.querySelector('#microphone').click()")
        await page.until(
            "document.querySelector('#partial').textContent.includes('s21w1') || document.querySelector('#finals').textContent.includes('s21w1')"
        )
        assert re.fullmatch(r"\d+ ms", (await page.text("#lag"))[0])
        assert (await page.text("#chunk")) == ["320 ms"]
        assert await page.value("document.querySelector('#stop').disabled") is False
        await page.value("document.querySelector('#stop').click()")
        await page.until("document.querySelector('#status').textContent === 'Finished.'")
        said = " ".join(await page.text("#finals span")).split()
        assert said == [*(f"s21w{n}" for n in range(len(said) - 1)), "end"]
        assert len(said) > 2
        assert await page.value("document.querySelector('#finals span').lang") == "el-GR"
        assert await page.value("document.querySelector('#microphone').disabled") is False


@pytest.mark.heavy
async def test_speech_into_the_microphone_becomes_the_words_of_the_model(tmp_path: Path) -> None:
    """The whole way, real engine included. The browser's own processing of a microphone costs words, and it begins before the stream does: half must be right."""
    import soxr

    from asrcore.audio import decode
    from asrcore.checkpoint import embedded_base, read_checkpoint
    from asrcore.embedded import shipped
    from asrcore.manifest import load_rows
    from asrcore.score.wer import score_wer
    from asrcore.serve.engine import ENGINE

    rows = load_rows(shipped.unpack(tmp_path / "sets")["es-ES_guard_test"])[:6]
    pause = np.zeros(2 * 16_000, dtype=np.float32)  # the embedded base knows single sentences; after a pause it listens anew (docs/concepts/serving.md)
    speech = np.concatenate([part for row in rows for part in (decode(row.audio), pause)])
    sf.write(tmp_path / "speech.wav", soxr.resample(speech, 16_000, 48_000), 48_000, subtype="PCM_16")
    info = read_checkpoint(embedded_base())
    real = {"checkpoint": info.path, "name": "embedded", "slots": info.prompt_dictionary, "contexts": ((56, 3), (56, 13))}
    async with browsing(tmp_path, tmp_path / "speech.wav", ENGINE, **real) as (page, _):
        await page.value("document.querySelector('#language').value = 'es-ES'; document.querySelector('#microphone').click()")
        heard = "document.querySelector('#heard').textContent.split(':').reduce((minutes, seconds) => 60 * minutes + Number(seconds), 0)"
        await page.until(f"{heard} > {len(speech) / 16_000 + 1:.0f}")
        await page.value("document.querySelector('#stop').click()")
        await page.until("document.querySelector('#status').textContent === 'Finished.'")
        said = " ".join(await page.text("#finals span"))
    errors = score_wer([" ".join(row.utterance.text for row in rows)], [said], ["es-ES"], normalised=True)
    assert errors.percent < 50, said


async def test_a_file_is_sent_whole_and_its_words_come_back(tmp_path: Path, recording: Path) -> None:
    async with browsing(tmp_path, recording) as (page, _):
        await page.value("document.querySelector('#pace').checked = false")
        root = (await page.ask("DOM.getDocument"))["root"]["nodeId"]
        field = (await page.ask("DOM.querySelector", nodeId=root, selector="#file"))["nodeId"]
        await page.ask("DOM.setFileInputFiles", nodeId=field, files=[str(recording)])
        await page.until("document.querySelector('#status').textContent === 'Finished.'")
        assert " ".join(await page.text("#finals span")).split() == [*(f"s101w{n}" for n in range(8)), "end"]
        assert (await page.text("#heard")) == ["0:04"]


async def test_a_refusal_is_shown_with_what_to_do(tmp_path: Path, recording: Path) -> None:
    async with browsing(tmp_path, recording, token=SECRET) as (page, _):
        assert await page.value("document.querySelector('#token-row').hidden") is False
        await page.value("document.querySelector('#microphone').click()")
        await page.until("document.querySelector('#status').classList.contains('bad')")
        assert "token" in (await page.text("#status"))[0]
        await page.value(f"document.querySelector('#token').value = {json.dumps(SECRET)}; document.querySelector('#microphone').click()")
        await page.until("document.querySelector('#status').textContent === 'Listening.'")


async def test_every_control_has_a_name_and_the_page_fits_a_narrow_window(tmp_path: Path, recording: Path) -> None:
    async with browsing(tmp_path, recording) as (page, _):
        nodes = (await page.ask("Accessibility.getFullAXTree"))["nodes"]
        wanted = {"button", "combobox", "checkbox", "textbox"}
        controls = [node for node in nodes if node.get("role", {}).get("value") in wanted and not node["ignored"]]
        assert len(controls) >= 6
        assert [node for node in controls if not node.get("name", {}).get("value")] == []
        await page.ask("Emulation.setDeviceMetricsOverride", width=380, height=800, deviceScaleFactor=1, mobile=True)
        assert await page.value("document.documentElement.scrollWidth <= innerWidth")
        for scheme in ("light", "dark"):
            await page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            ground = await page.value("getComputedStyle(document.body).backgroundColor")
            level = sum(map(int, re.findall(r"\d+", ground)[:3]))
            assert (level > 600) == (scheme == "light")
