"""Child process `python -m asrcore.model.serve`: owns the model of `asrtune serve` and talks frames with its front (asrcore.serve.wire).

It reads what has come, decodes one chunk of every stream that has one, reports the words, and so on: while a round is computed, audio of further
streams gathers, so batches grow with the load by themselves. It ends when the front does, since the link then ends.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from asrcore.audio import MODEL_RATE
from asrcore.captions import PAUSE_S
from asrcore.errors import AsrtuneError, EnvironmentFault, ErrorView
from asrcore.model.restore import restore
from asrcore.model.serve_engine import LiveEngine
from asrcore.model.stream import FRAME_S, Decoded
from asrcore.model.transcribe import WORD_START, timed_words
from asrcore.serve import wire
from asrcore.serve.wire import Frames, LiveWord, Update

MAX_OPEN_PIECES = 12
"""Scripts without spaces have words without end; after so many pieces one is cut, and the next is glued to it."""


class Words:
    """Tokens of one stream to words: finished ones once, and the one that may still grow."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._frames: list[int] = []
        self._cut = False

    def take(
        self, tokens: Sequence[int], frames: Sequence[int], heard_s: float, *, done: bool
    ) -> tuple[list[LiveWord], LiveWord | None, tuple[str, ...]]:
        """New words, the open word, and the languages that were written since the last finished word."""
        self._tokens += tokens
        self._frames += frames
        if not self._tokens:
            return [], None, ()
        pieces: list[str] = self._tokenizer.ids_to_tokens(self._tokens)
        starts = [index for index, piece in enumerate(pieces) if piece.startswith(WORD_START)]
        begin = starts[-1] if starts else 0
        closed, languages = self._written(0, begin, pieces)
        rest, more = self._written(begin, len(pieces), pieces)
        quiet = heard_s - (self._frames[-1] + 1) * FRAME_S >= PAUSE_S
        long = len(pieces) - begin >= MAX_OPEN_PIECES and not pieces[-1].startswith("<0x")  # half a character, written as bytes
        if rest and (done or quiet or long):
            self._tokens, self._frames, self._cut = [], [], True
            return closed + rest, None, languages + more
        self._tokens, self._frames = self._tokens[begin:], self._frames[begin:]
        if begin:
            self._cut = False
        return closed, _without_half_a_tag(rest[0]) if rest else None, languages + more

    def _written(self, start: int, end: int, pieces: Sequence[str]) -> tuple[list[LiveWord], tuple[str, ...]]:
        if start == end:
            return [], ()
        words, languages = timed_words(self._tokenizer, Decoded(0, tuple(self._tokens[start:end]), tuple(self._frames[start:end])))
        goes_on = self._cut and start == 0 and not pieces[0].startswith(WORD_START)
        return [LiveWord(text=w.text, start=w.start, end=w.end, glue=goes_on and n == 0) for n, w in enumerate(words)], languages


def _without_half_a_tag(word: LiveWord) -> LiveWord | None:
    """A locale tag may be written in several pieces; the first ones are no text."""
    text = word.text.partition("<")[0]
    return word.model_copy(update={"text": text}) if text else None


class Child:
    """The engine behind one link."""

    def __init__(self, link: socket.socket) -> None:
        self._link, self._frames = link, Frames()
        self._words: dict[int, Words] = {}

    def run(self) -> None:
        """Until the front says stop or is gone. Raises `OutOfStep`, and what opening the checkpoint raises after it was reported."""
        waiting = self._receive()
        while waiting is not None and not waiting:
            waiting = self._receive()
        if waiting is None:
            return
        load = waiting.pop(0)
        if not isinstance(load, wire.Load):
            raise wire.OutOfStep
        try:
            self._load(load)
        except AsrtuneError as error:
            self._send(wire.Failed(error=ErrorView.of(error)))
            raise
        self._send(wire.Ready())
        while waiting is not None and self._obey(waiting):
            waiting = self._receive(block=not self._round())

    def _load(self, load: wire.Load) -> None:
        kind, _, number = load.device.partition(":")
        if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
            raise EnvironmentFault("device_missing", f"this machine has {torch.cuda.device_count()} CUDA devices that PyTorch can use; {load.device} is none.",
                                   next_step="leave --device out, or run doctor.")  # fmt: skip
        model = restore(Path(load.checkpoint), device=load.device)
        self._tokenizer = model.tokenizer
        self._engine = LiveEngine(model, tuple(dict.fromkeys(load.contexts)), load.places)
        for context in self._engine.contexts:  # the first step of each size is slow; nobody should wait for it
            self._engine.open(0, 0, MODEL_RATE, context)
            self._engine.streams[0].feed(bytes(2 * 3 * MODEL_RATE))
            self._engine.streams[0].end()
            while not self._engine.streams[0].done:
                self._engine.round()
            self._engine.close(0)
        gc.collect()
        gc.freeze()  # a full collection would go through a million objects of the libraries, and every stream would wait for it

    def _obey(self, commands: Sequence[wire.Command | wire.Audio]) -> bool:
        """False: stop. A stream that is gone may still be talked about by messages that were on their way."""
        streams = self._engine.streams
        for command in commands:
            match command:
                case wire.Audio(stream=key, pcm=pcm):
                    if key in streams:
                        streams[key].feed(pcm)
                case wire.Open():
                    self._engine.open(command.stream, command.slot, command.rate, command.context)
                    self._words[command.stream] = Words(self._tokenizer)
                case wire.End(stream=key):
                    if key in streams:
                        streams[key].end()
                case wire.Drop(stream=key):
                    if key in streams:
                        self._forget(key)
                case wire.Stop():
                    return False
                case wire.Load():
                    raise wire.OutOfStep
        return True

    def _round(self) -> bool:
        """Whether there was anything to do."""
        touched = self._engine.round()
        updates: list[Update] = []
        for stream in touched:
            words, open_word, languages = self._words[stream.key].take(stream.tokens, stream.frames, stream.heard_s, done=stream.done)
            stream.tokens.clear()
            stream.frames.clear()
            updates.append(
                Update(stream=stream.key, heard_s=stream.heard_s, words=tuple(words), open=open_word, languages=languages, done=stream.done)
            )
            if stream.done:
                self._forget(stream.key)
        if updates:
            self._send(wire.Updates(updates=tuple(updates)))
        return bool(updates)

    def _forget(self, key: int) -> None:
        self._engine.close(key)
        del self._words[key]

    def _receive(self, *, block: bool = True) -> list[wire.Command | wire.Audio] | None:
        """What has come; None when the front is gone."""
        if not block and not select.select([self._link], [], [], 0)[0]:
            return []
        data = self._link.recv(1 << 20)
        return [wire.command_of(kind, body) for kind, body in self._frames.feed(data)] if data else None

    def _send(self, report: wire.Report) -> None:
        self._link.sendall(wire.pack(report))


def main() -> int:
    with socket.socket(fileno=int(os.environ.pop(wire.LINK))) as link:
        try:
            Child(link).run()
        except AsrtuneError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
        except ConnectionError:
            return 0  # the front is gone
    return 0


if __name__ == "__main__":
    sys.exit(main())
