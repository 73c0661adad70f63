"""`make study`: which surface, how much replay, which alpha, and when to tune at all? Many small fine-tunes of the embedded base, all synthetic.

    python bench/study.py [all|PART] [--whole] [--home FOLDER] [--steps N] [--jobs N] [--utterances N]

    surfaces   every surface on Greek telephone speech with 10 % replay: gain, forgetting, seconds, trainable parameters
    replay     0, 10 and 30 % of the seconds in other languages        alpha     between the base and the tuned weights
    terms      a list of terms: boost it, or tune on it                accents   the worst of six accents of English
    locale     a new language under its neighbour's slot, in a free slot that starts as a copy, and from a slot that learned nothing;
               600 steps (`--steps`) show something, 100 do not
    speed      merged LoRAs of rank 8 and 64 against the base

`full` and `lora:8` on seeds 1, 2 and 3, everything else on seed 1; `--whole` takes all three everywhere. As many jobs at a time as there are
cores, one thread each, so seconds are of one busy core. Everything goes through the tools: the same command after a stop goes on with what is not
finished, and a longer study re-uses a shorter one. Prints one table a part, as Markdown; the last line says how long it took. Needs the extra `synth`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import study_accents, study_locale, study_speed, study_terms
from bench.study_runs import Scores, Size, Study, results, row_of

STEPS = 100
REPLAY_SHARE = 0.1
"""build_shards' own default."""
SEEDS = (1, 2, 3)
REPLAY_SHARES = (0.0, REPLAY_SHARE, 0.3)
ALPHAS = (0.25, 0.5, 0.75)
"""1 is the run itself."""
SURFACES = ("full", "lora:8", "lora:64", "top_layers:2", "decoder_joint", "prompt")
EVERY_SEED = ("full", "lora:8")

SHORT = Size({surface: SEEDS if surface in EVERY_SEED else SEEDS[:1] for surface in SURFACES}, SEEDS[:1], REPLAY_SHARE)
WHOLE = Size(dict.fromkeys(SURFACES, SEEDS), SEEDS, REPLAY_SHARE)


def surfaces(study: Study, size: Size) -> Callable[[], None]:
    asked = {surface: [study.later(study.tuned, seed, surface, size.replay_share) for seed in seeds] for surface, seeds in size.surfaces.items()}

    def table() -> None:
        print("| surface | trainable | seconds | telephone | clean | guards | 3 points |\n| --- | --- | --- | --- | --- | --- | --- |")
        for surface, tuned in asked.items():
            found = results(tuned)
            runs = [one.run for one in found]
            print(f"| {surface} | {runs[0].trainable_parameters:,} | {mean(run.seconds for run in runs):.0f} | {row_of([one.scores for one in found])}", flush=True)

    return table


def replay(study: Study, size: Size) -> Callable[[], None]:
    asked = {share: [study.later(study.tuned, seed, "full", share) for seed in size.seeds] for share in REPLAY_SHARES}

    def table() -> None:
        print("| replay share | telephone | clean | guards | 3 points |\n| --- | --- | --- | --- | --- |")
        for share, tuned in asked.items():
            print(f"| {share:.0%} | {row_of([one.scores for one in results(tuned)])}", flush=True)

    return table


def alpha(study: Study, size: Size) -> Callable[[], None]:
    whole = [study.later(study.tuned, seed, "full", size.replay_share) for seed in size.seeds]
    asked = {share: [study.later(blended, study, seed, size.replay_share, share) for seed in size.seeds] for share in ALPHAS}

    def table() -> None:
        print(f"| alpha, replay {size.replay_share:.0%} | telephone | clean | guards | 3 points |\n| --- | --- | --- | --- | --- |")
        for share, scored in asked.items():
            print(f"| {share:g} | {row_of(results(scored))}", flush=True)
        print(f"| 1 | {row_of([one.scores for one in results(whole)])}", flush=True)

    return table


def blended(study: Study, seed: int, replay_share: float, alpha: float) -> Scores:
    run = study.tuned(seed, "full", replay_share).run
    return study.scores(study.blends(run, ALPHAS)[alpha])


PARTS: dict[str, Callable[[Study, Size], Callable[[], None]]] = {
    "surfaces": surfaces, "replay": replay, "alpha": alpha, "terms": study_terms.part, "accents": study_accents.part, "locale": study_locale.part,
    "speed": study_speed.part,
}  # fmt: skip
"""Each asks for its work and gives the function that prints its table once the work is done. `speed` is last: it wants free cores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="all", choices=("all", *PARTS))
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--home", type=Path, default=Path(".asrtune/study"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--utterances", type=int, default=None, help="of each test set, to try the script; the tables mean nothing then")
    options = parser.parse_args()
    size, names = WHOLE if options.whole else SHORT, tuple(PARTS) if options.part == "all" else (options.part,)
    started = time.monotonic()
    study = Study(options.home, options.steps, options.jobs, options.utterances)
    try:
        tables = {name: PARTS[name](study, size) for name in names}
        base = [cell.normalised.percent for cell in study.base.result()]
        print(f"base, synthetic: telephone {base[0]:.1f}, clean {base[1]:.1f}, guards {' '.join(f'{rate:.1f}' for rate in base[2:])}; {options.steps} steps, "
              f"{options.jobs} jobs at a time, seeds {size.seeds}, of {' and '.join(EVERY_SEED)} {SEEDS}")  # fmt: skip
        for name, table in tables.items():
            print(f"\n## {name}\n", flush=True)
            table()
            print(f"\n{(time.monotonic() - started) / 60:.0f} minutes from the start", flush=True)
    except BaseException:
        study.stop()
        raise


if __name__ == "__main__":
    main()
