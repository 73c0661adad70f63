"""The grammar of simulated channels: what `--channel` may say. What one utterance draws from it is in `channel_draw.py`, the sound in `channel_sound.py`.

    chain  = "none" | item {"," item}        applied in the order written
    item   = preset | step {"|" step}        of alternatives, each utterance draws one
    step   = name [":" value]                STEPS lists the names, their units and bounds
    value  = number ["-" number]             a range: each utterance draws a value from it, evenly

    telephone                                                a preset
    bandpass:300-3400,alaw,gsm,noise:10-20,level:-18--4,loss:0.02

Several chains are a mix: each utterance draws one of them, and `none` leaves it as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, cast, get_args

from asrcore.data_requests import ChannelChain, ChannelPlan
from asrcore.errors import Problem, UsageError, clean_text

VERSION = 1
"""Raise when an equal chain sounds different; it is part of every id that a chain is part of."""

StepName = Literal["bandpass", "ulaw", "alaw", "gsm", "g726", "amr", "opus", "noise", "room", "level", "loss"]
CODECS: frozenset[StepName] = frozenset({"ulaw", "alaw", "gsm", "g726", "amr", "opus"})
NONE = "none"


class Rule(NamedTuple):
    """What a step takes: a band (two fixed numbers), a range to draw from, one number of `choices`, or nothing. Bounds in `unit`."""

    takes: Literal["band", "range", "choice", "nothing"]
    means: str
    least: float = 0.0
    most: float = 0.0
    default: tuple[float, float] | None = None
    choices: tuple[float, ...] = ()


STEPS: Mapping[StepName, Rule] = {
    "bandpass": Rule("band", "band kept, in Hz; up to 3800 Hz the signal goes on at 8 kHz", 20, 7_800, (300, 3_400)),
    "ulaw": Rule("nothing", "ITU-T G.711 mu-law"),
    "alaw": Rule("nothing", "ITU-T G.711 A-law"),
    "gsm": Rule("nothing", "GSM 06.10 full rate"),
    "g726": Rule("choice", "ITU-T G.726 at that many kbit/s", choices=(24, 32, 40), default=(32, 32)),
    "amr": Rule("choice", "AMR-NB at that many kbit/s; needs ffmpeg", choices=(4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2), default=(12.2, 12.2)),
    "opus": Rule("range", "Opus narrow-band, kbit/s", 6, 64, (12, 24)),
    "noise": Rule("range", "signal-to-noise ratio over the utterance, in dB", -10, 60, (10, 25)),
    "room": Rule("range", "reverberation time RT60, in seconds", 0.05, 2.0, (0.2, 0.5)),
    "level": Rule("range", "highest sample, in dBFS", -60, 0, (-18, -4)),
    "loss": Rule("range", "share of 20 ms packets lost", 0, 0.5, (0.0, 0.05)),
}

PRESETS: Mapping[str, str] = {
    "telephone": "noise:15-30,bandpass:300-3400,level:-18--4,alaw|ulaw",
    "mobile": "room:0.1-0.4,noise:10-25,bandpass:200-3500,level:-18--4,gsm,loss:0-0.02,alaw|ulaw",
    "voip": "room:0.1-0.5,noise:15-30,bandpass:100-3800,level:-18--4,opus:12-24,loss:0-0.05",
}
"""A fixed line, a mobile call into the fixed network, a call over the internet. Codecs of a libsndfile wheel only."""

_NUMBER = r"-?\d{1,5}(?:\.\d{1,6})?"
_VALUE = re.compile(rf"({_NUMBER})(?:-({_NUMBER}))?")
_MOST_ITEMS = 20


class Step(NamedTuple):
    """One step; `low` equals `high` where there is nothing to draw, and both are 0 where it takes nothing."""

    name: StepName
    low: float
    high: float

    def __str__(self) -> str:
        if STEPS[self.name].takes == "nothing":
            return self.name
        return f"{self.name}:{_written(self.low)}" + ("" if self.low == self.high else f"-{_written(self.high)}")


Stage = tuple[Step, ...]
"""Alternatives at one place of a chain."""


def parse_chains(texts: Sequence[str]) -> tuple[ChannelChain, ...]:
    """Checked chains, presets written out. Raises `channel_invalid` with every problem of every chain."""
    problems: list[Problem] = []
    chains = tuple(ChannelChain(name=text.strip(), steps=_canonical(_stages(text.strip(), problems))) for text in texts)
    twice = {chain.steps for n, chain in enumerate(chains) if chain.steps in {c.steps for c in chains[:n]}}
    if twice and not problems:
        problems.append(_problem("the same chain is given twice", "give each once; every utterance draws one of them, evenly"))
    if problems:
        known = "; ".join(f"{name}: {rule.means}" for name, rule in STEPS.items())
        raise UsageError("channel_invalid", f"{len(problems)} problem(s) in the channel (first: {problems[0].message}).",
                         next_step=f"pass one of {', '.join(PRESETS)}, none, or steps such as bandpass:300-3400,alaw,noise:10-20. Steps: {known}.",
                         problems=problems)  # fmt: skip
    return chains


def stages(chain: ChannelChain) -> tuple[Stage, ...]:
    """The steps of a checked chain. Raises `channel_invalid` for a chain that was written by hand and is none."""
    problems: list[Problem] = []
    found = _stages(chain.steps, problems)
    if problems:
        raise UsageError("channel_invalid", f"a chain of the request cannot be read ({problems[0].message}).",
                         next_step="start the job through its tool again; requests are written by the tools.", problems=problems)  # fmt: skip
    return found


def codecs_of(chains: Iterable[ChannelChain]) -> set[StepName]:
    """The codecs that any utterance may go through."""
    return {step.name for chain in chains for stage in stages(chain) for step in stage if step.name in CODECS}


def uses_noise(chains: Iterable[ChannelChain]) -> bool:
    return any(step.name == "noise" for chain in chains for stage in stages(chain) for step in stage)


def identity(plan: ChannelPlan | None) -> object:
    """What of a plan decides how it sounds, for ids: names, steps, the content of noise files and VERSION; not where the files lie."""
    if plan is None:
        return None
    return [VERSION, [[chain.name, chain.steps] for chain in plan.chains], sorted(one.sha256 for one in plan.noise)]


def _stages(text: str, problems: list[Problem]) -> tuple[Stage, ...]:
    if text == NONE:
        return ()
    items = [item.strip() for item in text.split(",")]
    found: list[Stage] = []
    for item in items[:_MOST_ITEMS]:
        if item in PRESETS:
            found += _stages(PRESETS[item], problems)
        else:
            steps = [_step(part.strip(), problems) for part in item.split("|")]
            found.append(tuple(step for step in steps if step is not None))
    if len(items) > _MOST_ITEMS:
        problems.append(_problem(f"a chain has {len(items)} steps, {_MOST_ITEMS} are the most", "leave some out"))
    return tuple(found)


def _step(text: str, problems: list[Problem]) -> Step | None:
    name, colon, value = text.partition(":")
    if name == NONE:
        problems.append(_problem("none stands among other steps", "give it as a chain of its own, to leave a part of the utterances as they are"))
        return None
    if name not in get_args(StepName):
        problems.append(_problem(f"{clean_text(name, 20) or 'an empty step'} is no step", f"use {', '.join(STEPS)}, or a preset: {', '.join(PRESETS)}"))
        return None
    known = cast(StepName, name)
    rule = STEPS[known]
    if not colon:
        low, high = rule.default or (0.0, 0.0)
        return Step(known, low, high)
    numbers = _VALUE.fullmatch(value)
    wrong = "takes no value" if rule.takes == "nothing" else "has a value that is no number or range" if numbers is None else ""
    if numbers is not None and not wrong:
        low = float(numbers[1])
        high = low if numbers[2] is None else float(numbers[2])
        wrong = _out_of_bounds(rule, low, high)
        if not wrong:
            return Step(known, low, high)
    problems.append(_problem(f"{known} {wrong}", f"{known} takes {_taken(rule)}"))
    return None


def _out_of_bounds(rule: Rule, low: float, high: float) -> str:
    if rule.takes == "choice":
        return "" if low == high and low in rule.choices else "has a value that it does not know"
    if low > high or (rule.takes == "band" and low == high):
        return "has a range that ends before it starts"
    return "" if rule.least <= low and high <= rule.most else "has a value out of bounds"


def _taken(rule: Rule) -> str:
    if rule.takes == "choice":
        return f"one of {', '.join(f'{c:g}' for c in rule.choices)} ({rule.means})"
    return f"{rule.least:g} to {rule.most:g} ({rule.means})" if rule.takes != "nothing" else "no value"


def _written(number: float) -> str:
    """Never with an exponent, which the grammar does not have."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _canonical(found: tuple[Stage, ...]) -> str:
    return ",".join("|".join(map(str, stage)) for stage in found) or NONE


def _problem(message: str, fix: str) -> Problem:
    return Problem(code="channel_invalid", message=message, fix=fix)
