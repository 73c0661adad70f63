"""The end of the page: warnings, and everything needed to repeat the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from asrcore.report.markup import Html, el, join
from asrcore.report.numbers import count
from asrcore.report.parts import Target, folded, section, set_name, short, table
from asrcore.requests import EvalCell, TrainResult
from asrcore.score.replay import ReplayReport


def facts(found: Sequence[Target], cells: Sequence[tuple[str, EvalCell]], replay: ReplayReport | None, run: TrainResult | None) -> Html:
    """What the numbers rest on. `cells` are all evals behind the page, each with its system (`base` or `tuned`)."""
    first = found[0]
    sets = {cell.set.sha256: cell for _, cell in cells}
    versions = sorted({f"{name} {version}" for _, cell in cells for name, version in cell.versions.items()})
    entries: list[tuple[str, str]] = [
        ("Base checkpoint", _checkpoint(first.base)),
        ("Tuned checkpoint", _checkpoint(first.tuned)),
        *([("Run", el("code", run.run_id))] if run else []),
        ("Engine", ", ".join(sorted({f"{cell.engine}, batch {cell.batch_size}" for _, cell in cells}))),
        ("Normaliser", ", ".join(sorted({cell.normaliser for _, cell in cells} | {first.comparison.normaliser}))),
        ("Interval", f"{first.comparison.method}; seed {first.comparison.seed}"),
        *([("Guard rule", f"one-sided 5 % a guard, margin {replay.margin_rule}; seed {replay.seed}")] if replay else []),
        ("Comparisons", join(*(join(" " if n else "", el("code", t.comparison.comparison_id)) for n, t in enumerate(found)))),
        *([("Replay check", el("code", replay.replay_id))] if replay else []),
        ("Versions", ", ".join(versions)),
        *((f"Set {short(set_name(cell), 60)}", join(f"{count(cell.utterances)} utterances, {count(cell.normalised.words)} {cell.normalised.unit}s, {', '.join(cell.locales)}, sha256 ",
                                                    el("code", cell.set.sha256[:16]))) for cell in sets.values()),
    ]  # fmt: skip
    listed = el("dl", *(join(el("dt", name), el("dd", value)) for name, value in entries), class_="facts")
    return section("What this rests on", "", *_caveats(found, replay), el("div", listed, class_="panel"), _evals(cells))


def _caveats(found: Sequence[Target], replay: ReplayReport | None) -> list[Html]:
    """Each warning once, with the sets it is about."""
    warned = [(set_name(t.base), w) for t in found for w in t.comparison.warnings]
    warned += [(guard.set.name.replace("_", " "), w) for guard in (replay.guards if replay else ()) for w in guard.warnings]
    about: dict[str, dict[str, None]] = {}
    for name, warning in warned:
        about.setdefault(warning.message, {})[name] = None
    said = [f"{', '.join(names)}: {message}" for message, names in about.items()]
    return [el("h3", "Caveats"), el("ul", *(el("li", line) for line in said), class_="caveats")] if said else []


def _evals(cells: Sequence[tuple[str, EvalCell]]) -> Html:
    head = ("eval", "system", "set", "att_context_size", "latency", "prompt", "engine", "batch")
    rows = [
        [el("code", cell.eval_id), system, el("bdi", short(set_name(cell), 60)), str(list(cell.att_context)), f"{cell.latency_ms} ms", cell.prompt_mode,
         cell.engine, str(cell.batch_size)]
        for system, cell in {cell.eval_id: (system, cell) for system, cell in cells}.values()
    ]  # fmt: skip
    return folded(f"The {len(rows)} evals behind this page", table("Evals behind this page", head, rows))


def _checkpoint(cell: EvalCell) -> Html:
    return join(el("bdi", short(cell.checkpoint.name, 80)), ", sha256 ", el("code", cell.checkpoint.sha256[:16]))
