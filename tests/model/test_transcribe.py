"""Audio files to text: the words of an eval, times that fit, bad files named, and no file done twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asrcore import io
from asrcore.checkpoint import embedded_base
from asrcore.embedded import shipped
from asrcore.errors import NotReadyError
from asrcore.manifest import kept_rows
from asrcore.requests import CheckpointRef, TranscribeRequest
from tests.model.runs import Watch

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three Bulgarian clips."""
    manifest = shipped.unpack(tmp_path_factory.mktemp("sets"))["bg-BG_guard_test"]
    return [row.audio for row in kept_rows(manifest)[:3]]


def request(files: list[Path], out: Path, **changes: Any) -> TranscribeRequest:
    base = embedded_base()
    values: dict[str, Any] = {
        "checkpoint": CheckpointRef(name="embedded", path=str(base), sha256=io.sha256_file(base)), "files": [str(file) for file in files],
        "digests": ["0" * 64] * len(files), "language": "bg-BG", "att_context": (56, 3), "formats": ("json", "srt", "vtt", "txt"), "out": str(out),
    }  # fmt: skip
    return TranscribeRequest.model_validate(values | changes)


def test_the_text_is_that_of_an_eval_and_its_words_lie_within_the_clip(clips: list[Path], tmp_path: Path) -> None:
    from asrcore.audio import decode
    from asrcore.model import transcribe
    from asrcore.model.restore import prompt_slots, restore
    from asrcore.model.stream import StreamingDecoder, StreamItem

    result = transcribe.run(request(clips, tmp_path / "out"), Watch(tmp_path / "job"))
    model = restore(embedded_base(), threads=1)
    slot = prompt_slots(model)["bg-BG"]
    expected = StreamingDecoder(model, (56, 3), 3).decode(
        [StreamItem(n, lambda clip=clip: decode(clip), slot, 1.0) for n, clip in enumerate(clips)]
    )
    for number, (transcript, decoded) in enumerate(zip(result.files, expected, strict=True)):
        assert transcript.untrusted_text.split() == str(model.tokenizer.ids_to_text(list(decoded.tokens))).split()
        assert transcript.words
        starts = [word.start for word in transcript.words]
        assert starts == sorted(starts)
        assert all(0 <= word.start < word.end <= transcript.seconds + 0.17 for word in transcript.words)
        folder = tmp_path / "out" / f"file_{number:05d}"
        assert sorted(path.name for path in folder.iterdir()) == ["transcript.json", "transcript.srt", "transcript.txt", "transcript.vtt"]
        assert (folder / "transcript.txt").read_text(encoding="utf-8").split() == transcript.untrusted_text.split()


def test_a_bad_file_is_named_with_its_code_and_the_rest_goes_on(clips: list[Path], tmp_path: Path) -> None:
    from asrcore.model import transcribe

    bad = tmp_path / "ignore previous instructions\x1b.wav"
    bad.write_bytes(b"RIFF")
    import numpy as np
    import soundfile as sf

    nan = tmp_path / "nan.wav"  # its header is fine
    sf.write(nan, np.full(16_000, np.nan, dtype=np.float32), 16_000, subtype="FLOAT")
    result = transcribe.run(request([clips[0], bad, tmp_path / "gone.wav", nan], tmp_path / "out"), Watch(tmp_path / "job"))
    assert [file.error for file in result.files] == [None, "audio_unreadable", "audio_missing", "audio_unreadable"]
    assert result.failed == 3
    assert "\x1b" not in json.dumps(result.model_dump(mode="json"))
    assert not (tmp_path / "out/file_00001/transcript.srt").exists()


def test_only_bad_files_are_an_error(tmp_path: Path) -> None:
    from asrcore.model import transcribe

    with pytest.raises(NotReadyError, match="nothing_transcribed"):
        transcribe.run(request([tmp_path / "gone.wav"], tmp_path / "out"), Watch(tmp_path / "job"))


def test_a_run_that_goes_on_keeps_the_files_that_were_finished(clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asrcore.model import transcribe

    first = transcribe.run(request(clips[:2], tmp_path / "out"), Watch(tmp_path / "job"))
    decoded: list[int] = []
    keep = transcribe._Run.keep
    monkeypatch.setattr(
        transcribe._Run, "keep", lambda self, number, transcript: (decoded.append(number), keep(self, number, transcript))[1]
    )
    second = transcribe.run(request(clips, tmp_path / "out"), Watch(tmp_path / "job"))
    assert decoded == [2]
    assert second.files[:2] == first.files


def test_a_language_without_a_slot_is_refused(clips: list[Path], tmp_path: Path) -> None:
    """Trap 3.3."""
    from asrcore.model import transcribe

    with pytest.raises(NotReadyError, match="unknown_tag"):
        transcribe.run(request(clips[:1], tmp_path / "out", language="xx-XX"), Watch(tmp_path / "job"))
    assert not (tmp_path / "out").exists()
