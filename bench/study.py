"""`make study`: which surface, how much replay, which alpha? Many small fine-tunes of the embedded base, all synthetic.

    python bench/study.py [surfaces|replay|alpha|locale|all] [--whole] [--home FOLDER] [--steps N]

By default `all` is the short study, about 45 minutes on 2 free cores: full and lora:8 on seeds 1, 2, 3; replay shares 0, 10 and 30 % and alpha on
seed 1. `--whole` takes every surface, seeds 1, 2, 3 everywhere, and the new language (`study_locale.py`, needs the extra `synth`;
alone 15 minutes): three hours.
Everything goes through the tools, so the same command after a stop goes on with what is not finished, and a longer study re-uses a shorter one.
Prints one table a part, as Markdown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from asrcore.embedded import shipped
from asrcore.jobs import Ledger
from asrcore.recipe.surface import rate_factor
from asrcore.requests import AddLocaleResult, Blend, EvalCell, TrainResult
from asrcore.workspace import Budgets, Config, Workspace
from asrtune.quickstart import CONTEXTS, MARGIN_POINTS, PEAK_LR, REPLAY_SHARE, Loop

STEPS = 200
REPLAY_SHARES = (0.0, 0.1, 0.3)
ALPHAS = (0.25, 0.5, 0.75)
"""1 is the run itself."""
NEW_LOCALE_REPLAY = 0.3


class Size(NamedTuple):
    """How much of the study is made."""

    surfaces: tuple[str, ...]
    surface_seeds: tuple[int, ...]
    other_seeds: tuple[int, ...]
    parts: tuple[str, ...]


SHORT = Size(("full", "lora:8"), (1, 2, 3), (1,), ("surfaces", "replay", "alpha"))
WHOLE = Size(("full", "lora:8", "lora:64", "top_layers:2", "decoder_joint", "prompt"), (1, 2, 3), (1, 2, 3), ("surfaces", "replay", "alpha", "locale"))


class Scores(NamedTuple):
    """WER in percent at 80 ms, `langID`."""

    telephone: float
    clean: float
    guards: tuple[float, ...]
    forgotten: int


class Study:
    """One workspace for all runs; evals and runs that are there are not made again."""

    def __init__(self, home: Path, steps: int) -> None:
        self.home = home.resolve()
        config = Config(data_roots=(str(self.home),), budgets=Budgets(max_disk_gb=50.0))
        self.loop = Loop(Workspace(self.home / "workspace", config, self.home), self.home, None)
        self.sets = shipped.unpack(self.home / "data")
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
        """Greek telephone speech on the embedded base, at the quickstart's rate."""
        return self.train(self.sets[shipped.TELEPHONE_TRAIN], self.sets[shipped.TELEPHONE_DEV], seed, "embedded", surface, replay_share, "unified")

    def train(self, data: Path, dev: Path, seed: int, base: str, surface: str, replay_share: float, prompt_mode: str) -> TrainResult:
        shards = self.loop.job("build_shards", train=[str(data)], seed=seed, replay_share=replay_share,
                               replay=[str(self.sets[name]) for name in shipped.REPLAY] if replay_share else [])  # fmt: skip
        assert shards.result is not None
        plan = self.loop.call("plan_finetune", shards_id=shards.result["shards_id"], dev_manifest=str(dev), base=base, surface=surface,
                              max_steps=self.steps, peak_lr=PEAK_LR * rate_factor(surface), prompt_mode=prompt_mode, seed=seed)  # fmt: skip
        self.loop.job("launch_finetune", plan_id=plan.data.plan_id)
        return TrainResult.model_validate(Ledger.open(self.loop.ws).require("run", plan.data.run_id))

    def blends(self, run: TrainResult) -> Iterator[tuple[float, str]]:
        """Alpha and blend id, rising."""
        self.loop.job("blend_checkpoints", base="embedded", tuned=[run.run_id], alphas=list(ALPHAS))
        made = [(Blend.model_validate(row.data), row.id) for row in Ledger.open(self.loop.ws).list("blend", 1000)]
        yield from sorted((blend.alpha, name) for blend, name in made if [c.sha256 for c in blend.tuned] == [run.best.sha256] and blend.alpha in ALPHAS)

    def add_locale(self, way: str, locale: str, neighbour: str, manifest: Path) -> str:
        """The new base's id."""
        made = self.loop.job("add_locale", locale=locale, neighbour=neighbour, manifest=str(manifest), way=way)
        return Path(AddLocaleResult.model_validate(made.result).checkpoint.path).parent.name


def surfaces(study: Study, size: Size) -> None:
    print("| surface | trainable | seconds | telephone | clean | guards | forgotten |\n| --- | --- | --- | --- | --- | --- | --- |")
    for surface in size.surfaces:
        runs = [study.tune(seed, surface) for seed in size.surface_seeds]
        scored = [study.scores(run.run_id) for run in runs]
        print(f"| {surface} | {runs[0].trainable_parameters:,} | {mean(run.seconds for run in runs):.0f} | {row_of(scored)} |", flush=True)


def replay(study: Study, size: Size) -> None:
    print("| replay share | telephone | clean | guards | forgotten |\n| --- | --- | --- | --- | --- |")
    for share in REPLAY_SHARES:
        scored = [study.scores(study.tune(seed, replay_share=share).run_id) for seed in size.other_seeds]
        print(f"| {share:.0%} | {row_of(scored)} |", flush=True)


def alpha(study: Study, size: Size) -> None:
    print("| alpha, replay 10 % | telephone | clean | guards | forgotten |\n| --- | --- | --- | --- | --- |")
    by_alpha: dict[float, list[Scores]] = {}
    for seed in size.other_seeds:
        run = study.tune(seed, replay_share=REPLAY_SHARES[1])
        for share, checkpoint in (*study.blends(run), (1.0, run.run_id)):
            by_alpha.setdefault(share, []).append(study.scores(checkpoint))
    for share, scored in by_alpha.items():
        print(f"| {share:g} | {row_of(scored)} |", flush=True)


def locale(study: Study, size: Size) -> None:
    """A new language three ways, the same audio, steps and rate; `neighbour` is the guard set of the language whose slot was taken or copied."""
    import study_locale as new  # only this part needs the synthesiser

    sets = new.make(study.home / "data")
    neighbour = study.sets[f"{new.NEIGHBOUR}_guard_test"]
    print(f"| {new.LOCALE} | before | after {study.steps} steps | neighbour before | neighbour after |\n| --- | --- | --- | --- | --- |")
    for way in ("alias", "own_slot", "zero"):
        suffix = "_zero" if way == "zero" else ""
        base = "embedded" if way == "zero" else study.add_locale(way, new.LOCALE, new.NEIGHBOUR, sets["train"])
        test = sets[f"test{suffix}"]
        before = study.loop.evaluate(base, [test, neighbour], CONTEXTS[:1])
        after: list[list[EvalCell]] = []
        for seed in size.other_seeds:
            run = study.train(sets[f"train{suffix}"], sets[f"dev{suffix}"], seed, base, "full", NEW_LOCALE_REPLAY, "langID")
            after.append(study.loop.evaluate(run.run_id, [test, neighbour], CONTEXTS[:1]))
        new_rates, old_rates = ([cells[which].normalised.percent for cells in after] for which in (0, 1))
        print(f"| {way} | {before[0].normalised.percent:.1f} | {mean(new_rates):.1f} ({', '.join(f'{rate:.1f}' for rate in new_rates)}) | "
              f"{before[1].normalised.percent:.1f} | {mean(old_rates):.1f} |", flush=True)  # fmt: skip


def row_of(scored: list[Scores]) -> str:
    """Means over the seeds, with each seed's telephone rate in brackets."""
    each = ", ".join(f"{one.telephone:.1f}" for one in scored)
    guards = " ".join(f"{mean(rates):.1f}" for rates in zip(*(one.guards for one in scored), strict=True))
    return (f"{mean(one.telephone for one in scored):.1f} ({each}) | {mean(one.clean for one in scored):.1f} | {guards} | "
            f"{sum(one.forgotten for one in scored)} of {sum(len(one.guards) for one in scored)}")  # fmt: skip


PARTS: dict[str, Callable[[Study, Size], None]] = {"surfaces": surfaces, "replay": replay, "alpha": alpha, "locale": locale}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="all", choices=("all", *PARTS))
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--home", type=Path, default=Path(".asrtune/study"))
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    size = WHOLE if options.whole else SHORT
    started = time.monotonic()
    study = Study(options.home, options.steps)
    print(f"base, synthetic: telephone {study.base[0].normalised.percent:.1f}, clean {study.base[1].normalised.percent:.1f}, guards "
          f"{' '.join(f'{cell.normalised.percent:.1f}' for cell in study.base[2:])}; {options.steps} steps, seeds {size.surface_seeds} and {size.other_seeds}")  # fmt: skip
    for name in size.parts if options.part == "all" else (options.part,):
        print(f"\n## {name}\n")
        PARTS[name](study, size)
    print(f"\n{(time.monotonic() - started) / 60:.0f} minutes in this sitting")


if __name__ == "__main__":
    main()
