"""One self-contained HTML page for evals, guards and a training run."""

from asrcore.report.build import ReportView, Training, build_report

__all__ = ["ReportView", "Training", "build_report"]
