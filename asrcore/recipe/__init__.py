"""Spec in, plan out: every value with a reason, every obstacle found before anything runs. Imports no training library."""

from __future__ import annotations

from asrcore.recipe.launch import launch_plan
from asrcore.recipe.plan import load_plan, make_plan
from asrcore.recipe.spec import Decision, Estimates, FinetuneSpec, Gain, Plan, PlanSummary, SourceUse

__all__ = ["Decision", "Estimates", "FinetuneSpec", "Gain", "Plan", "PlanSummary", "SourceUse", "launch_plan", "load_plan", "make_plan"]
