"""A campaign as plain text: one line a round, and the learning curve drawn with characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from asrcore.campaign.curve import FARTHEST, Curve, Point, Refusal
from asrcore.campaign.mining import HardUtterance, MissedWord
from asrcore.campaign.state import Aim, Campaign, Decision
from asrcore.errors import clean_text

WIDTH, HEIGHT = 60, 12
_HEAD = ("round", "hours", "target", "gain (95 %)", "guards", "candidate", "next", "rule")


def rounds_table(decisions: Sequence[Decision]) -> str:
    """One line a round; columns as wide as their longest cell."""
    rows = [_HEAD, *(_row(decision) for decision in decisions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def heading(campaign: Campaign, decisions: Sequence[Decision]) -> str:
    """What the campaign is for, and what is in force."""
    main = campaign.targets[0]
    goal = f"goal {campaign.goal_percent:g} %" if campaign.goal_percent is not None else "until the plateau"
    force = clean_text(decisions[-1].in_force.name, 60) if decisions else "base"
    return (f"{campaign.campaign_id}  {clean_text(campaign.title, 80)}\n{clean_text(main.set.name, 60)} at {main.latency_ms} ms, {main.prompt_mode}; {goal}; "
            f"least gain {campaign.min_gain_points:g} points; {len(campaign.guards)} guards; in force: {force}")  # fmt: skip


def curve_of(target: Aim) -> str:
    """Whose curve follows."""
    return f"Learning curve on {clean_text(target.set.name, 60)}, over hours of {clean_text(' '.join(target.locales), 60)}:"


def drawing(points: Sequence[Point], curve: Curve | Refusal) -> str:
    """Measured rates (o) and the median curve (.) with its 90 % band (:), hours on a logarithmic axis, as far as twice the most hours."""
    if not points:
        return "No round with known hours of target data is measured yet."
    low, high = min(p.hours for p in points), 2 * max(p.hours for p in points)
    columns = [low * (high / low) ** (n / (WIDTH - 1)) for n in range(WIDTH)]
    bands = [] if isinstance(curve, Refusal) else [curve.error(hours) for hours in columns]
    values = [p.percent for p in points] + [value for band in bands for value in band]
    top, bottom = max(values) + 1e-9, min(values) - 1e-9
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]

    def place(column: int, value: float, mark: str) -> None:
        grid[round((top - value) / (top - bottom) * (HEIGHT - 1))][column] = mark

    for column, band in enumerate(bands):
        for value, mark in zip((band[0], band[2], band[1]), "::.", strict=True):
            place(column, value, mark)
    for point in points:
        place(round(math.log(point.hours / low) / math.log(high / low) * (WIDTH - 1)), point.percent, "o")
    labels = [f"{top:6.1f}" if row == 0 else f"{bottom:6.1f}" if row == HEIGHT - 1 else " " * 6 for row in range(HEIGHT)]
    lines = [f"{label} |{''.join(cells)}".rstrip() for label, cells in zip(labels, grid, strict=True)]
    note = f"no curve: {curve.why}" if isinstance(curve, Refusal) else "o measured, . curve, : 90 %"
    return "\n".join([*lines, " " * 7 + "+" + "-" * WIDTH, f"{'%':>6}  {low:.3g} h{f'{high:.3g} h':>{WIDTH - len(f'{low:.3g} h')}}", f"        {note}"])


def more_hours(points: Sequence[Point], curve: Curve | Refusal, hours: float) -> str:
    """What so many more hours would bring, answered or refused."""
    if isinstance(curve, Refusal):
        return f"What {hours:g} more hours would bring is not known: {curve.why}."
    now = max(point.hours for point in points)
    if not curve.reaches(now + hours):
        return f"What {hours:g} more hours would bring is not known: {now + hours:.3g} h is more than {FARTHEST:g} times the most that was measured ({now:.3g} h)."
    gain, error = curve.gain(now, now + hours), curve.error(now + hours)
    return (f"{hours:g} more hours (from {now:.3g} h): {gain[1]:.2f} points less (90 % {gain[0]:.2f} to {gain[2]:.2f}), "
            f"to {error[1]:.2f} % (90 % {error[0]:.2f} to {error[2]:.2f}), if they are of the same kind.")  # fmt: skip


def hard_cases(utterances: Sequence[HardUtterance], words: Sequence[MissedWord]) -> str:
    """What was missed most on the first target, for people who decide what to collect; the set itself must stay out of training."""
    lines = [f"line {one.line}: {one.errors} errors of {one.words}\n    said   {one.untrusted_reference}\n    heard  {one.untrusted_text}" for one in utterances]
    missed = ", ".join(f"{one.untrusted_text} {one.missed}/{one.occurrences}" for one in words)
    return "\n".join([*(lines or ["No utterance was missed by all."]), f"missed words: {missed or 'none twice'}"])


def _row(decision: Decision) -> tuple[str, ...]:
    this, evidence = decision.round, decision.evidence
    seen = evidence.targets[0] if evidence.targets else None
    rate = f"{seen.percent:.2f} %" if seen else f"{evidence.in_force_percent:.2f} %"
    gain = f"{seen.gain_points:+.2f} ({seen.gain95[0]:+.2f} to {seen.gain95[1]:+.2f})" if seen else ""
    hours = "" if this.target_hours is None else f"{this.target_hours:.3g}"
    return str(this.number), hours, rate, gain, evidence.guards.verdict if evidence.guards else "", decision.judgement, decision.lever, decision.lever_rule
