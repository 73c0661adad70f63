"""What the parts of the study share: one workspace, fine-tunes and evals through the tools, as many at a time as there are cores.

Every stage is content-addressed and every job goes on where it was, so a part that is asked for again costs nothing. Jobs compute with one thread
each: small models gain little from a second one, and two threads on a shared core cost several times the work (docs/log.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple, TypeVar

from asrcore import io
from asrcore.embedded import shipped
from asrcore.jobs import LIVE, Ledger, cancel_job, list_jobs
from asrcore.recipe.surface import rate_factor
from asrcore.requests import AddLocaleResult, Blend, EvalCell, TrainResult
from asrcore.workspace import Budgets, Config, Workspace
from asrtune.quickstart import BATCH, CONTEXTS, MARGIN_POINTS, PEAK_LR, Loop

T = TypeVar("T")
DEV_UTTERANCES = 48
"""Of a dev set: candidates are ranked six times a run, and the whole of it would cost as much as the training."""
TARGETS = (shipped.TELEPHONE_TEST, shipped.CLEAN_TEST)


class Size(NamedTuple):
    """How much of the study is made: seeds of each surface, those of everything else, and the replay share where it is not what is studied."""

    surfaces: dict[str, tuple[int, ...]]
    seeds: tuple[int, ...]
    replay_share: float


class Scores(NamedTuple):
    """WER in percent at 80 ms, `langID`, and how many guards `check_replay` calls forgotten and kept at the quickstart's margin."""

    telephone: float
    clean: float
    guards: tuple[float, ...]
    forgotten: int
    kept: int


class Tuned(NamedTuple):
    run: TrainResult
    scores: Scores


class Study:
    """One workspace for all runs. `utterances`: use only so many of each test set, to try the script."""

    def __init__(self, home: Path, steps: int, jobs: int, utterances: int | None = None) -> None:
        self.home = home.resolve()
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # jobs inherit it
        config = Config(data_roots=(str(self.home),), budgets=Budgets(max_disk_gb=50.0, max_parallel_jobs=jobs))
        self.loop = Loop(Workspace(self.home / "workspace", config, self.home), self.home, None)
        self.steps, self.utterances = steps, utterances
        self.sets = shipped.unpack(self.home / "data")
        self.pool, self.asked = ThreadPoolExecutor(jobs), dict[tuple[Any, ...], Future[Any]]()
        self.base = self.later(self.evaluate, "embedded")

    def later(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """The answer of `work` when it is there; the same work is asked for once. Work that waits for other work must be asked for after it."""
        key = (work, *arguments)
        if key not in self.asked:
            self.asked[key] = self.pool.submit(work, *arguments)
        return self.asked[key]

    def stop(self) -> None:
        """Nothing more starts; what runs is cancelled with a checkpoint."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        for job in list_jobs(self.loop.ws, 100):
            if job.state in LIVE:
                cancel_job(self.loop.ws, job.job_id)

    def first(self, manifest: Path, utterances: int | None) -> Path:
        """A manifest of the first rows, beside the whole one; the whole one without a number."""
        if utterances is None:
            return manifest
        few = manifest.with_name(f"{manifest.stem}_first_{utterances}.json")
        if not few.exists():
            with open(manifest, encoding="utf-8") as lines:
                io.write_text(few, "".join(islice(lines, utterances)))
        return few

    def evals(self, checkpoint: str, manifests: Sequence[Path], slice_by: Sequence[str] = ()) -> list[EvalCell]:
        """One cell a manifest, at 80 ms under `langID`."""
        done = self.loop.job(
            "run_streaming_eval", checkpoint=checkpoint, manifests=[str(self.first(one, self.utterances)) for one in manifests],
            att_context_sizes=[list(CONTEXTS[0])], batch_size=BATCH, slice_by=list(slice_by),
        )  # fmt: skip
        assert done.result is not None
        return [EvalCell.model_validate(cell) for cell in done.result["cells"]]

    def evaluate(self, checkpoint: str) -> list[EvalCell]:
        return self.evals(checkpoint, [self.sets[name] for name in (*TARGETS, *shipped.GUARDS)])

    def guards(self, checkpoint: str) -> list[EvalCell]:
        return self.evals(checkpoint, [self.sets[name] for name in shipped.GUARDS])

    def forgotten_and_kept(self, guards: Sequence[EvalCell]) -> tuple[int, int]:
        """Of the shipped guards' cells, what `check_replay` says beside the base's."""
        before = self.base.result()[len(TARGETS) :]
        verdicts = self.loop.call("check_replay", base_evals=[c.eval_id for c in before], tuned_evals=[c.eval_id for c in guards],
                                  margin_points=MARGIN_POINTS).data.guards  # fmt: skip
        return sum(guard.verdict == "forgotten" for guard in verdicts), sum(guard.verdict == "kept" for guard in verdicts)

    def scores(self, checkpoint: str) -> Scores:
        cells = self.evaluate(checkpoint)
        telephone, clean, *guards = (cell.normalised.percent for cell in cells)
        return Scores(telephone, clean, tuple(guards), *self.forgotten_and_kept(cells[len(TARGETS) :]))

    def tuned(self, seed: int, surface: str, replay_share: float) -> Tuned:
        """Greek telephone speech on the embedded base, and its scores."""
        train, dev = self.sets[shipped.TELEPHONE_TRAIN], self.sets[shipped.TELEPHONE_DEV]
        run = self.train(train, dev, seed, replay_share=replay_share, surface=surface)
        return Tuned(run, self.scores(run.run_id))

    def train(self, train: Path, dev: Path, seed: int, *, replay_share: float, base: str = "embedded", surface: str = "full",
              prompt_mode: str = "unified") -> TrainResult:  # fmt: skip
        """A fine-tune at the quickstart's rate, ten times that for LoRA, over the study's number of steps."""
        shards = self.loop.job("build_shards", train=[str(train)], seed=seed, replay_share=replay_share,
                               replay=[str(self.sets[name]) for name in shipped.REPLAY] if replay_share else [])  # fmt: skip
        assert shards.result is not None
        plan = self.loop.call("plan_finetune", shards_id=shards.result["shards_id"], dev_manifest=str(self.first(dev, DEV_UTTERANCES)), base=base,
                              surface=surface, max_steps=self.steps, peak_lr=PEAK_LR * rate_factor(surface), prompt_mode=prompt_mode, seed=seed)  # fmt: skip
        self.loop.job("launch_finetune", plan_id=plan.data.plan_id)
        return TrainResult.model_validate(Ledger.open(self.loop.ws).require("run", plan.data.run_id))

    def blends(self, run: TrainResult, alphas: Sequence[float], base: str = "embedded") -> dict[float, str]:
        """Alpha -> blend id."""
        self.loop.job("blend_checkpoints", base=base, tuned=[run.run_id], alphas=list(alphas))
        made = [(Blend.model_validate(row.data), row.id) for row in Ledger.open(self.loop.ws).list("blend", 1000)]
        return {blend.alpha: name for blend, name in made if [c.sha256 for c in blend.tuned] == [run.best.sha256]}

    def add_locale(self, way: str, locale: str, neighbour: str, manifest: Path) -> str:
        """The new base's id."""
        made = self.loop.job("add_locale", locale=locale, neighbour=neighbour, manifest=str(manifest), way=way)
        return Path(AddLocaleResult.model_validate(made.result).checkpoint.path).parent.name

    def transcribed(self, checkpoint: str, manifest: Path, language: str, terms: Sequence[str], boost_weight: float, name: str) -> EvalCell:
        """Scores of what `transcribe` writes for a set with the terms boosted, or not, at weight 0; the terms are counted either way."""
        boost: dict[str, Any] = {"boost": list(terms), "boost_weight": boost_weight} if boost_weight else {}
        few = self.first(manifest, self.utterances)
        rows = [json.loads(line) for line in few.read_text(encoding="utf-8").splitlines()]
        done = self.loop.job("transcribe", checkpoint=checkpoint, audio=[str(few.parent / row["audio_filepath"]) for row in rows], language=language,
                             att_context_size=list(CONTEXTS[0]), batch_size=BATCH, **boost)  # fmt: skip
        assert done.result is not None
        hypotheses = self.home / "transcribed" / f"{few.parent.name}_{done.job_id}.jsonl"
        pairs = zip(rows, done.result["files"], strict=True)
        io.write_text(hypotheses, "".join(json.dumps({"id": row["id"], "pred_text": file["untrusted_text"]}) + "\n" for row, file in pairs))
        return self.loop.call("score_hypotheses", manifest=str(few), hypotheses=str(hypotheses), system=name, att_context_size=list(CONTEXTS[0]),
                              terms=list(terms)).data  # fmt: skip


def results(asked: Sequence[Future[T]]) -> list[T]:
    return [one.result() for one in asked]


def row_of(scored: Sequence[Scores]) -> str:
    """Cells of a table: means over the seeds, with each seed's telephone rate in brackets."""
    each = ", ".join(f"{one.telephone:.1f}" for one in scored)
    guards = " ".join(f"{mean(rates):.1f}" for rates in zip(*(one.guards for one in scored), strict=True))
    verdicts = f"{sum(one.kept for one in scored)} kept, {sum(one.forgotten for one in scored)} forgotten of {sum(len(one.guards) for one in scored)}"
    return f"{mean(one.telephone for one in scored):.1f} ({each}) | {mean(one.clean for one in scored):.1f} | {guards} | {verdicts} |"
