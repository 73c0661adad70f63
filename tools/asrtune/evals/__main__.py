"""python -m asrtune.evals list | play | triggers | scripted | world"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from asrcore import io
from asrcore.errors import AsrtuneError
from asrtune import __version__
from asrtune.evals import cases, worlds
from asrtune.evals.play import Agent, Played, play, reference_agent
from asrtune.evals.scripted import play_script
from asrtune.evals.triggers import run_triggers


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when every scenario passed, 1 when one did not; triggers are counted, not judged."""
    options = _parser().parse_args(argv)
    for name in ("ASRTUNE_HOME", "ASRTUNE_CONFIG"):
        os.environ.pop(name, None)  # a world has a workspace of its own; nobody's real one is played in
    try:
        return options.act(options)
    except AsrtuneError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m asrtune.evals", description="Evals of the skill; see skill/evals/README.md.")
    commands = parser.add_subparsers(required=True)
    listing = commands.add_parser("list", help="scenarios and trigger prompts")
    listing.set_defaults(act=_list)
    playing = commands.add_parser("play", help="scenarios through an agent; without --agent through the scripted one")
    playing.add_argument("--scenario", action="append", default=[], metavar="ID", help="one scenario; default: all that do not train")
    playing.add_argument("--slow", action="store_true", help="the ones that train too")
    playing.set_defaults(act=_play)
    pulling = commands.add_parser("triggers", help="trigger prompts through an agent")
    pulling.add_argument("--mark", help="pattern in the agent's output that means the skill was loaded")
    pulling.set_defaults(act=_triggers)
    for one in (playing, pulling):
        one.add_argument("--agent", help="command template, e.g. 'claude -p {prompt} --mcp-config {config}'", required=one is pulling)
        one.add_argument("--host", default="claude", help="whose config and skill folder are written (asrtune install)")
        one.add_argument("--without-skill", action="store_true", help="the baseline: the tools, but not the skill")
        one.add_argument("--timeout", type=float, default=900.0, help="seconds for one prompt")
        one.add_argument("--out", type=Path, required=True, help="folder for plays and results.json; must not hold older plays")
    script = commands.add_parser("scripted", help="the agent that plays a script in the current folder")
    script.add_argument("script", type=Path)
    script.set_defaults(act=_scripted)
    world = commands.add_parser("world", help="make the folder of a scenario, to look at it")
    world.add_argument("name", choices=sorted(worlds.WORLDS))
    world.add_argument("folder", type=Path)
    world.set_defaults(act=_world)
    return parser


def _list(options: argparse.Namespace) -> int:
    for one in cases.scenarios():
        sys.stdout.write(f"scenario  {one.id:24} {one.title}{' (slow)' if one.slow else ''}\n")
    for prompt in cases.triggers():
        sys.stdout.write(f"trigger   {prompt.id:24} {'use' if prompt.use else 'leave'}: {prompt.why}\n")
    return 0


def _play(options: argparse.Namespace) -> int:
    chosen = [one for one in cases.scenarios() if (one.id in options.scenario if options.scenario else options.slow or not one.slow)]
    agent = _agent(options) if options.agent else reference_agent()
    played: list[Played] = []
    for scenario in chosen:
        played.append(play(scenario, agent, options.out))
        sys.stdout.write(f"{'ok ' if played[-1].passed else 'BAD'} {scenario.id} ({played[-1].calls} calls, {played[-1].ran.seconds:g} s)\n")
        sys.stdout.write("".join(f"      {check.name}: {check.detail}\n" for check in played[-1].checks if not check.passed))
        sys.stdout.flush()
    passed = sum(one.passed for one in played)
    sys.stdout.write(f"{passed} of {len(played)} scenarios passed\n")
    _save(options, agent, {"scenarios": [one.model_dump(mode="json") for one in played], "passed": passed, "played": len(played)})
    return 0 if played and passed == len(played) else 1


def _triggers(options: argparse.Namespace) -> int:
    agent = _agent(options)
    report = run_triggers(cases.triggers(), agent, options.out, options.mark)
    sys.stdout.write(f"used where wanted {report.wanted_and_used} of {report.wanted}, where not wanted {report.unwanted_but_used} of {report.unwanted}\n")
    _save(options, agent, {"triggers": report.model_dump(mode="json")})
    return 0


def _scripted(options: argparse.Namespace) -> int:
    sys.stdout.write(play_script(options.script) + "\n")
    return 0


def _world(options: argparse.Namespace) -> int:
    worlds.make(options.name, options.folder)
    return 0


def _agent(options: argparse.Namespace) -> Agent:
    return Agent(options.agent, options.host, not options.without_skill, options.timeout)


def _save(options: argparse.Namespace, agent: Agent, found: dict[str, object]) -> None:
    """With everything that a reader needs to know whose numbers these are."""
    about = {"asrtune": __version__, "python": platform.python_version(), "when": datetime.now(UTC).isoformat(timespec="seconds"), "agent": agent._asdict()}
    io.write_json(options.out / "results.json", {**about, **found})


if __name__ == "__main__":
    sys.exit(main())
