"""Child process `python -m asrcore.model.transcribe request.json`: audio files to timed text, streamed as it would be served, or fast.

With the exact engine each file is one stream, however long it is; its captions end at its pauses. The fast engine sees a piece whole, so a file of over half a
minute is cut in its pauses, and what was said before a cut is not heard after it. A file's outputs appear together when it is finished, so a run that was killed
goes on with the first file that is not there. Outputs are named by position: a file name is data and names nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from asrcore import captions, io
from asrcore.audio import MODEL_RATE, Samples, decode, probe
from asrcore.captions import Word
from asrcore.endpoints import SENTENCE_PAUSE_S, STEP, pieces
from asrcore.errors import AsrtuneError, NotReadyError, clean_text
from asrcore.fingerprint import check_ref, require_unchanged
from asrcore.jobs.child import Reporter, main
from asrcore.model.boost import make_boost
from asrcore.model.fast import FastDecoder
from asrcore.model.restore import fastest_device, prompt_slots, restore
from asrcore.model.stream import FRAME_S, Decoded, StreamingDecoder, StreamItem
from asrcore.requests import TranscribeRequest, TranscribeResult, Transcript
from asrcore.text import LOCALE_TAG

WORD_START = "▁"
"""SentencePiece's mark for a space before a piece."""
WRITERS = {"srt": captions.srt, "vtt": captions.vtt, "txt": captions.txt}
RECORD = "transcript.json"


def run(request: TranscribeRequest, reporter: Reporter) -> TranscribeResult:
    """Raises `fingerprint_mismatch`, `unknown_tag`, `boost_phrase_unwritable`, `nothing_transcribed` and what opening the checkpoint raises; a bad file is a result with its code."""
    require_unchanged(check_ref(request.checkpoint), next_step="put the original checkpoint back and transcribe again.")
    out, total = Path(request.out), len(request.files)
    done = {
        n: Transcript.model_validate_json((folder_of(out, n) / RECORD).read_bytes()) for n in range(total) if folder_of(out, n).exists()
    }
    reporter.event("transcribe", len(done), total)
    if len(done) < total:
        model = restore(Path(request.checkpoint.path), device=fastest_device())
        slots = prompt_slots(model)
        if request.language not in slots:
            raise NotReadyError("unknown_tag", "the checkpoint has no prompt slot for that language.",
                             next_step="pass a tag of the checkpoint (validate_language_tags lists them), or auto.")  # fmt: skip
        _Run(request, reporter, model, slots[request.language], done).run()
    files = tuple(done[n] for n in range(total))
    if all(file.error for file in files):
        raise NotReadyError("nothing_transcribed", f"none of the {total} files could be read.",
                            next_step="check the files; each one's code is in the job folder's transcripts.")  # fmt: skip
    return TranscribeResult(files=files, failed=sum(bool(file.error) for file in files))


class _Run:
    def __init__(self, request: TranscribeRequest, reporter: Reporter, model: Any, slot: int, done: dict[int, Transcript]) -> None:
        self.request, self.reporter, self.model, self.slot, self.done = request, reporter, model, slot, done
        self.boost = make_boost(model, request.boost, request.boost_weight) if request.boost else None
        self.broken: dict[int, str] = {}

    def run(self) -> None:
        lengths: dict[int, float] = {}
        for number, file in enumerate(self.request.files):
            if number in self.done:
                continue
            try:
                lengths[number] = probe(Path(file)).seconds
            except AsrtuneError as error:
                self.keep(number, self.failure(number, error.code))
        if self.request.engine == "fast":
            self.run_fast(lengths)
        else:
            self.run_exact(lengths)

    def run_exact(self, lengths: Mapping[int, float]) -> None:
        items = [StreamItem(number, partial(self.read, number), self.slot, seconds, self.boost) for number, seconds in lengths.items()]
        places = min(self.request.batch_size, max(1, len(items)))
        decoder = StreamingDecoder(self.model, self.request.att_context, places, pause_s=SENTENCE_PAUSE_S)
        decoder.decode(items, lambda decoded: self.finish(decoded, lengths[decoded.key]))

    def run_fast(self, lengths: Mapping[int, float]) -> None:
        """Files are gathered until their pieces fill a batch, so many short ones are as quick as a long one."""
        decoder = FastDecoder(self.model, self.request.att_context, self.request.batch_size, pause_s=SENTENCE_PAUSE_S)
        waiting: list[tuple[int, Samples, list[tuple[int, int]]]] = []
        for number in lengths:
            samples = self.read(number)
            waiting.append((number, samples, pieces(samples)))
            if sum(len(cuts) for _, _, cuts in waiting) >= self.request.batch_size or number == max(lengths):
                parts = [samples[start:end] for _, samples, cuts in waiting for start, end in cuts]
                items = [StreamItem(key, partial(np.asarray, part), self.slot, len(part) / MODEL_RATE, self.boost) for key, part in enumerate(parts)]
                decoded = iter(decoder.decode(items, lambda _: self.reporter.stop_if_asked()))
                for file, _, cuts in waiting:
                    self.finish(joined(file, [(start // STEP, next(decoded)) for start, _ in cuts]), lengths[file])
                waiting = []

    def read(self, number: int) -> Samples:
        """Samples of a file. One that breaks off in the middle must not end the others: it is silence here and a failure in `finish`."""
        try:
            return decode(Path(self.request.files[number]))
        except AsrtuneError as error:
            self.broken[number] = error.code
            return np.zeros(1, dtype=np.float32)

    def failure(self, number: int, code: str) -> Transcript:
        return Transcript(number=number, untrusted_source=clean_text(self.request.files[number], 300), seconds=0.0, error=code)

    def finish(self, decoded: Decoded, seconds: float) -> None:
        self.reporter.stop_if_asked()
        if decoded.key in self.broken:
            self.keep(decoded.key, self.failure(decoded.key, self.broken[decoded.key]))
            return
        words, languages = timed_words(self.model.tokenizer, decoded)
        lines = captions.captions_of(words)
        self.keep(decoded.key, Transcript(
            number=decoded.key, untrusted_source=clean_text(self.request.files[decoded.key], 300), seconds=round(seconds, 3),
            untrusted_text=" ".join(word.text for word in words), languages=languages, words=words, captions=lines,
        ))  # fmt: skip

    def keep(self, number: int, transcript: Transcript) -> None:
        with io.atomic_folder(folder_of(Path(self.request.out), number)) as part:
            io.write_json(part / RECORD, transcript)
            for name in self.request.formats:
                if name in WRITERS and not transcript.error:
                    io.write_text(part / f"transcript.{name}", WRITERS[name](transcript.captions))
        self.done[number] = transcript
        self.reporter.event("transcribe", len(self.done), len(self.request.files))


def joined(key: int, parts: Sequence[tuple[int, Decoded]]) -> Decoded:
    """What the pieces of one recording wrote, each with the encoder frame of the recording that it starts at."""
    return Decoded(key, tuple(token for _, part in parts for token in part.tokens), tuple(start + frame for start, part in parts for frame in part.frames))


def folder_of(out: Path, number: int) -> Path:
    return out / f"file_{number:05d}"


def timed_words(tokenizer: Any, decoded: Decoded) -> tuple[tuple[Word, ...], tuple[str, ...]]:
    """Words with times, and the languages that the model wrote, in order. Locale tags are taken out of the words."""
    pieces: Sequence[str] = tokenizer.ids_to_tokens(list(decoded.tokens))
    groups: list[list[int]] = []
    for index, piece in enumerate(pieces):
        if piece.startswith(WORD_START) or not groups:
            groups.append([])
        groups[-1].append(index)
    words: list[Word] = []
    languages: list[str] = []
    for group in groups:
        written = str(tokenizer.ids_to_text([decoded.tokens[i] for i in group])).strip()
        languages += [tag.strip("<>") for tag in LOCALE_TAG.findall(written)]
        text = LOCALE_TAG.sub("", written).strip()
        if text:
            start, end = decoded.frames[group[0]] * FRAME_S, (decoded.frames[group[-1]] + 1) * FRAME_S
            words.append(Word(text=text, start=round(start, 2), end=round(end, 2)))
    return tuple(words), tuple(languages)


if __name__ == "__main__":
    main(TranscribeRequest, run)
