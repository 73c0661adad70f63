"""`make study`: which surface, how much replay, which alpha? Many small fine-tunes of the embedded base, all synthetic; hours on 2 cores.

    python bench/study.py [surfaces|replay|alpha|all] [--home FOLDER] [--seeds 1 2 3] [--steps N]

Everything goes through the tools, so the same command after a stop goes on with what is not finished. Prints one table a part, as Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from asrcore.embedded import shipped
from asrcore.jobs import Ledger
from asrcore.requests import Blend, EvalCell, TrainResult
from asrcore.workspace import Budgets, Config, Workspace
from asrtune.quickstart import CONTEXTS, MARGIN_POINTS, REPLAY_SHARE, STEPS, Loop

SURFACES = ("full", "lora:8", "lora:64", "top_layers:2", "decoder_joint", "prompt")
REPLAY_SHARES = (0.0, 0.1, 0.3)
ALPHAS = (0.25, 0.5, 0.75, 1.0)


class Scores(NamedTuple):
    """WER in percent at 80 ms, `langID`."""

    telephone: float
    clean: float
    guards: tuple[float, ...]
    forgotten: int


class Study:
    """One workspace for all runs; evals and runs that are there are not made again."""

    def __init__(self, home: Path, steps: int) -> None:
        home = home.resolve()
        self.loop = Loop(Workspace(home / "workspace", Config(data_roots=(str(home),), budgets=Budgets(max_disk_gb=50.0)), home), home, None)
        self.sets = shipped.unpack(home / "data")
        self.steps = steps
        self.base = self.evaluate("embedded")

    def evaluate(self, checkpoint: str) -> list[EvalCell]:
        names = (shipped.TELEPHONE_TEST, shipped.CLEAN_TEST, *shipped.GUARDS)
        return self.loop.evaluate(checkpoint, [self.sets[name] for name in names], CONTEXTS[:1])

    def scores(self, checkpoint: str) -> Scores:
        cells = self.evaluate(checkpoint)
        guards = self.loop.call("check_replay", base_evals=[c.eval_id for c in self.base[2:]], tuned_evals=[c.eval_id for c in cells[2:]],
                                margin_points=MARGIN_POINTS).data.guards  # fmt: skip
        rates = [cell.normalised.percent for cell in cells]
        return Scores(rates[0], rates[1], tuple(rates[2:]), sum(guard.verdict == "forgotten" for guard in guards))

    def tune(self, seed: int, surface: str = "full", replay_share: float = REPLAY_SHARE) -> TrainResult:
        shards = self.loop.job(
            "build_shards", train=[str(self.sets[shipped.TELEPHONE_TRAIN])], seed=seed, replay_share=replay_share,
            replay=[str(self.sets[name]) for name in shipped.REPLAY] if replay_share else [],
        )  # fmt: skip
        assert shards.result is not None
        plan = self.loop.call("plan_finetune", shards_id=shards.result["shards_id"], dev_manifest=str(self.sets[shipped.TELEPHONE_DEV]),
                              surface=surface, max_steps=self.steps, seed=seed)  # fmt: skip
        self.loop.job("launch_finetune", plan_id=plan.data.plan_id)
        return TrainResult.model_validate(Ledger.open(self.loop.ws).require("run", plan.data.run_id))

    def blends(self, run: TrainResult) -> Iterator[tuple[float, str]]:
        """Alpha and blend id, rising."""
        self.loop.job("blend_checkpoints", base="embedded", tuned=[run.run_id], alphas=list(ALPHAS))
        made = [(Blend.model_validate(row.data), row.id) for row in Ledger.open(self.loop.ws).list("blend", 1000)]
        yield from sorted((blend.alpha, name) for blend, name in made if [c.sha256 for c in blend.tuned] == [run.best.sha256])


def surfaces(study: Study, seeds: list[int]) -> None:
    print("| surface | trainable | seconds | telephone | clean | guards | forgotten |\n| --- | --- | --- | --- | --- | --- | --- |")
    for surface in SURFACES:
        runs = [study.tune(seed, surface) for seed in seeds]
        scored = [study.scores(run.run_id) for run in runs]
        print(f"| {surface} | {runs[0].trainable_parameters:,} | {mean(run.seconds for run in runs):.0f} | {row_of(scored)} |", flush=True)


def replay(study: Study, seeds: list[int]) -> None:
    print("| replay share | telephone | clean | guards | forgotten |\n| --- | --- | --- | --- | --- |")
    for share in REPLAY_SHARES:
        scored = [study.scores(study.tune(seed, replay_share=share).run_id) for seed in seeds]
        print(f"| {share:.0%} | {row_of(scored)} |", flush=True)


def alpha(study: Study, seeds: list[int]) -> None:
    print("| alpha | telephone | clean | guards | forgotten |\n| --- | --- | --- | --- | --- |")
    by_alpha: dict[float, list[Scores]] = {}
    for seed in seeds:
        for share, blend in study.blends(study.tune(seed, replay_share=REPLAY_SHARES[1])):
            by_alpha.setdefault(share, []).append(study.scores(blend))
    for share, scored in by_alpha.items():
        print(f"| {share:g} | {row_of(scored)} |", flush=True)


def row_of(scored: list[Scores]) -> str:
    """Means over the seeds, with each seed's telephone rate in brackets."""
    each = ", ".join(f"{one.telephone:.1f}" for one in scored)
    guards = " ".join(f"{mean(rates):.1f}" for rates in zip(*(one.guards for one in scored), strict=True))
    return (f"{mean(one.telephone for one in scored):.1f} ({each}) | {mean(one.clean for one in scored):.1f} | {guards} | "
            f"{sum(one.forgotten for one in scored)} of {sum(len(one.guards) for one in scored)}")  # fmt: skip


PARTS: dict[str, Callable[[Study, list[int]], None]] = {"surfaces": surfaces, "replay": replay, "alpha": alpha}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", default="all", choices=("all", *PARTS))
    parser.add_argument("--home", type=Path, default=Path(".asrtune/study"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    study = Study(options.home, options.steps)
    print(f"base, synthetic: telephone {study.base[0].normalised.percent:.1f}, clean {study.base[1].normalised.percent:.1f}, guards "
          f"{' '.join(f'{cell.normalised.percent:.1f}' for cell in study.base[2:])}; {options.steps} steps, seeds {options.seeds}")  # fmt: skip
    for name, part in PARTS.items():
        if options.part in ("all", name):
            print(f"\n## {name}\n")
            part(study, options.seeds)


if __name__ == "__main__":
    main()
