"""Checks every language tag of a manifest against the prompt dictionary inside the checkpoint.

Use it before build_shards, and whenever output comes in a neighbour language; it reads text only, so use inspect_dataset for audio and style.
It finds tags that the checkpoint does not know, aliases that mean another variety (es is es-US, pt is pt-PT, no is not nb), slots that were
never trained, tags that share a slot, auto as a row's tag, text in another script or language than its tag's, and speakers or recordings with several tags.
It returns each tag with slot, tier, hours, script share and the nearest valid tags, and the verdict READY, NEEDS FIX or UNUSABLE. Cost: seconds for 100,000 rows.
"""

from __future__ import annotations

from pydantic import Field

from asrcore.checkpoint import EMBEDDED, resolve_base
from asrcore.data.findings import has_errors
from asrcore.data.tags import TagReport, check_tags
from asrcore.results import Frozen, NextAction, Result
from asrcore.workspace import Workspace


class Input(Frozen):
    manifest: str = Field(min_length=1, max_length=4096, description="JSON-lines manifest.")
    base: str = Field(
        EMBEDDED, min_length=1, max_length=4096, description='Checkpoint to tune: "embedded", a .nemo below a data root, or a hub id.'
    )


Output = TagReport


def run(request: Input, ws: Workspace) -> Result[Output]:
    report = check_tags(ws.resolve_data(request.manifest), resolve_base(ws, request.base), request.base)
    same = {"manifest": request.manifest, "base": request.base}
    if has_errors(report.findings):
        following = NextAction(
            tool="validate_language_tags", arguments=same, why="checks again, once the tags or texts in findings are corrected"
        )
    else:
        following = NextAction(tool="inspect_dataset", arguments=same, why="the tags are usable; this checks audio and text style")
    known = [f"{use.tag} (slot {use.slot}, {use.status})" for use in report.tags if use.slot is not None]
    unknown = sum(use.rows for use in report.tags if use.status == "unknown")
    return Result(
        summary=f"{report.verdict}: {report.rows} rows with {report.distinct_tags} tags: {', '.join(known[:8]) or 'none known'}"
                + (f"; {unknown} rows with tags that the checkpoint does not know." if unknown else "."),
        data=report,
        next_actions=(following,),
        truncated=report.distinct_tags > len(report.tags) or any(f.cut for f in report.findings),
    )  # fmt: skip
