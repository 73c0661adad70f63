"""Scoring: tags and normaliser, WER and CER, clustered bootstrap, comparison of two systems, the replay check."""

from asrcore.score.bootstrap import with_ci
from asrcore.score.compare import Comparison, compare_cells
from asrcore.score.hypotheses import read_hypotheses
from asrcore.score.normalise import NORMALISER, normalise
from asrcore.score.replay import GuardResult, ReplayReport, check_guards
from asrcore.score.script import corpus_script_share, script_share
from asrcore.score.tags import strip_tags
from asrcore.score.wer import Step, align, needs_cer, score_wer

__all__ = [
    "NORMALISER",
    "Comparison",
    "GuardResult",
    "ReplayReport",
    "Step",
    "align",
    "check_guards",
    "compare_cells",
    "corpus_script_share",
    "needs_cer",
    "normalise",
    "read_hypotheses",
    "score_wer",
    "script_share",
    "strip_tags",
    "with_ci",
]
