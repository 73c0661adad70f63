"""Audio files to text: the words of an eval, times that fit, bad files named, and no file done twice."""

from __future__ import annotations

import itertools
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


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[float, float]]]:
    """Bulgarian clips for over 40 s with two seconds of silence between them, and the seconds at which each clip begins and ends."""
    import numpy as np
    import soundfile as sf

    from asrcore.audio import MODEL_RATE, decode

    folder = tmp_path_factory.mktemp("long")
    spoken: list[tuple[float, float]] = []
    parts: list[Any] = []
    for row in kept_rows(shipped.unpack(folder)["bg-BG_guard_test"]):
        begun = sum(map(len, parts)) / MODEL_RATE
        parts += [decode(row.audio), np.zeros(2 * MODEL_RATE, np.float32)]
        spoken.append((begun, begun + len(parts[-2]) / MODEL_RATE))
        if spoken[-1][1] > 40:
            break
    sf.write(folder / "long.wav", np.concatenate(parts), MODEL_RATE, subtype="PCM_16")
    return folder / "long.wav", spoken


@pytest.mark.parametrize("engine", ["exact", "fast"])
def test_captions_of_a_long_recording_end_where_its_speakers_pause(
    long_recording: tuple[Path, list[tuple[float, float]]], tmp_path: Path, engine: str
) -> None:
    """No caption holds words from both sides of a pause, whichever engine heard it; the fast one has cut the file."""
    from asrcore.model import transcribe

    file, spoken = long_recording
    (transcript,) = transcribe.run(request([file], tmp_path / "out", engine=engine), Watch(tmp_path / "job")).files
    late = 0.4  # a word is written up to a chunk of 320 ms after it was said
    for (_, ended), (begun, _) in itertools.pairwise(spoken):
        assert not [caption for caption in transcript.captions if caption.start < ended and caption.end > begun + late]
    said_in = {n for n, (begun, ended) in enumerate(spoken) if any(begun <= word.start <= ended + late for word in transcript.words)}
    assert len(said_in) > 0.8 * len(spoken)
    assert transcript.seconds > 40


def test_after_a_pause_both_engines_begin_anew_at_the_same_frame(long_recording: tuple[Path, list[tuple[float, float]]], tmp_path: Path) -> None:
    """25 s are one piece for the fast engine, too. Without the new beginning the embedded base writes nothing more after a sentence or two."""
    import soundfile as sf

    from asrcore.model import transcribe

    samples, rate = sf.read(long_recording[0], dtype="int16")
    sf.write(tmp_path / "part.wav", samples[: 25 * rate], rate)
    exact, fast = (
        transcribe.run(request([tmp_path / "part.wav"], tmp_path / engine, engine=engine), Watch(tmp_path / f"{engine}.job")).files[0]
        for engine in ("exact", "fast")
    )
    assert exact.words == fast.words
    assert sum(word.start > 12 for word in exact.words) >= 5


def test_the_fast_engine_writes_the_words_of_the_stream_and_boosts_as_it_does(clips: list[Path], tmp_path: Path) -> None:
    from asrcore.model import transcribe

    for name, changes in {"plain": {}, "boosted": {"boost": ("зебра",), "boost_weight": 20.0}}.items():
        exact, fast = (
            transcribe.run(request(clips, tmp_path / name / engine, engine=engine, **changes), Watch(tmp_path / name / f"{engine}.job")).files
            for engine in ("exact", "fast")
        )
        assert [one.words for one in exact] == [one.words for one in fast]
        assert ("зебра" in " ".join(one.untrusted_text for one in fast).lower()) is bool(changes)


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
