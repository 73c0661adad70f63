"""The run behind the tuned checkpoint: learning curves and what it consumed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from asrcore.report import plots
from asrcore.report.canvas import Point
from asrcore.report.markup import Html, el
from asrcore.report.numbers import count, rate
from asrcore.report.parts import note, section, short, table
from asrcore.requests import CheckpointRef, Event, TrainResult

MAX_CURVE_POINTS = 400
SMOOTH_FROM = 40
"""Points from which on a running mean is drawn over the raw loss, whose steps differ by their utterances."""


def training(run: TrainResult, events: Sequence[Event], measured: CheckpointRef) -> Html:
    """Loss and dev error rate over steps, and what each source gave. `measured` is the tuned checkpoint of the page: the run's best, or for instance a blend of it."""
    losses = {event.step: event.metrics["loss"] for event in events if math.isfinite(event.metrics.get("loss", math.nan))}
    points = [Point(float(step), loss) for step, loss in sorted(losses.items())]
    points = points[:: max(1, -(-len(points) // MAX_CURVE_POINTS))]
    panels: list[Html] = []
    if len(points) > 1:
        window = len(points) // 20
        smooth = running_mean(points, window) if len(points) >= SMOOTH_FROM else []
        said = f"Faint: single steps. Solid: mean of about {window} points around each." if smooth else "Single steps."
        drawn = plots.curve(points, "Training loss over steps", "", smooth=smooth)
        panels.append(el("div", el("h3", "Training loss"), drawn, note(said), class_="panel"))
    dev = [Point(0.0, run.base_dev_wer), *(Point(float(c.step), c.dev_wer) for c in run.candidates)]
    drawn = plots.curve(
        dev,
        "Error rate on the dev set over steps",
        "%",
        level=(run.base_dev_wer, f"base {rate(run.base_dev_wer)}"),
        best=float(run.best_step),
        dots=True,
    )
    said = "One mark a candidate, scored after normalisation. The choice used these numbers, so they are no result."
    panels.append(el("div", el("h3", "Error rate on the dev set, streamed"), drawn, note(said), class_="panel"))
    rows = [[el("bdi", source.source), source.role, count(source.utterances), f"{source.seconds / 3600:.2f} h",
             ", ".join(f"{locale} {seconds / 60:.0f} min" for locale, seconds in source.seconds_by_locale.items())] for source in run.consumed]  # fmt: skip
    other = "" if run.best.sha256 == measured.sha256 else f" This page measures {short(measured.name, 60)}, which is another checkpoint."
    about = (
        f"{count(run.steps)} steps in {run.seconds / 60:.1f} minutes, {count(run.trainable_parameters)} trainable parameters; "
        f"the checkpoint of step {count(run.best_step)} was chosen on the dev set.{other}"
    )
    return section(
        "Training",
        about,
        el("div", *panels, class_="two"),
        table("What training consumed", ("source", "role", "utterances", "audio", "by locale"), rows),
    )


def running_mean(points: Sequence[Point], window: int) -> list[Point]:
    """Mean of about `window` points centred on each point, so that the line does not lag; of those there are near the ends."""
    reach = window // 2
    parts = (points[max(0, number - reach) : number + reach + 1] for number in range(len(points)))
    return [Point(point.x, math.fsum(q.y for q in part) / len(part)) for point, part in zip(points, parts, strict=True)]
