"""A stand-in for `asrcore.model.serve` without a model: a word every half second of audio that names its stream's slot and its place in it.

How it misbehaves is the name in ASRTUNE_FAKE: refuse, die, deaf (decodes nothing), flood (2,000 updates for one piece of audio).
"""

from __future__ import annotations

import os
import socket
import sys

from asrcore.errors import ErrorView, NotReadyError
from asrcore.serve import wire

STEP_S = 0.5


class Stream:
    def __init__(self, opened: wire.Open) -> None:
        self.slot, self.rate, self.samples, self.said = opened.slot, opened.rate, 0, 0

    def words(self, *, done: bool) -> list[wire.LiveWord]:
        found: list[wire.LiveWord] = []
        while self.samples / self.rate >= (self.said + 1) * STEP_S:
            at = self.said * STEP_S
            found.append(wire.LiveWord(text=f"s{self.slot}w{self.said}", start=at, end=at + 0.4))
            self.said += 1
        return found + ([wire.LiveWord(text="end", start=self.said * STEP_S, end=self.said * STEP_S)] if done else [])


def main() -> int:
    mood = os.environ.get("ASRTUNE_FAKE", "")
    link = socket.socket(fileno=int(os.environ[wire.LINK]))
    frames, streams = wire.Frames(), dict[int, Stream]()

    def tell(key: int, *, done: bool = False) -> None:
        stream = streams[key]
        update = wire.Update(
            stream=key, heard_s=stream.samples / stream.rate, words=tuple(stream.words(done=done)), languages=("el-GR",), done=done
        )
        link.sendall(wire.pack(wire.Updates(updates=(update,))))

    while data := link.recv(1 << 16):
        for kind, body in frames.feed(data):
            match wire.command_of(kind, body):
                case wire.Load():
                    if mood == "refuse":
                        error = NotReadyError("checkpoint_not_nemo", "no.", next_step="pass another.")
                        link.sendall(wire.pack(wire.Failed(error=ErrorView.of(error))))
                        return 3
                    link.sendall(wire.pack(wire.Ready()))
                case wire.Open() as opened:
                    streams[opened.stream] = Stream(opened)
                case wire.Audio(stream=key, pcm=pcm) if key in streams:
                    if mood == "die":
                        return 9
                    if mood == "deaf":
                        continue
                    streams[key].samples += len(pcm) // 2
                    for _ in range(2000 if mood == "flood" else 1):
                        tell(key)
                case wire.End(stream=key) if key in streams:
                    tell(key, done=True)
                    del streams[key]
                case wire.Drop(stream=key):
                    streams.pop(key, None)
                case wire.Stop():
                    return 0
                case _:
                    pass
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ConnectionError:
        sys.exit(0)  # the front is gone
