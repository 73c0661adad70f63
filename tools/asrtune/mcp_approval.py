"""A person's yes through the client: where it can show a form (MCP elicitation), a launch over a limit asks there for the plan's digest.

It is the same yes as that of `asrtune approve`: the same lines are shown, the same digest has to be typed, one yes is one run. The form goes to
the person, not to the model; a client that fills it in by itself is one that this cannot stop (docs/concepts/safety.md).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio.to_thread
import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext
    from mcp.server.session import ServerSession

    from asrcore.workspace import Workspace

KEY = "approval"
"""Name of the question among a call's input requests (protocol 2026-07-28)."""
FIELD = "digest"


async def asked_for(
    ctx: ServerRequestContext[Any, Any], params: types.CallToolRequestParams, workspace: Callable[[], Workspace],
    call: Callable[[], Awaitable[types.CallToolResult | None]],
) -> types.CallToolResult | types.InputRequiredResult | None:  # fmt: skip
    """What `call` answers; where that waits for a yes which this client can ask for, the question, or once the person gave the yes what `call`
    answers then."""
    answer = await call()
    if answer is None or not _is_wanted(params.name, answer, ctx.session):
        return answer
    said = await _ask(ctx, params, workspace)
    if isinstance(said, types.InputRequiredResult):
        return said
    return await call() if said else answer


def _is_wanted(tool: str, answer: types.CallToolResult, session: ServerSession) -> bool:
    """A capability without modes means forms (2025-06-18)."""
    code = cast("dict[str, Any]", answer.structured_content or {}).get("code")
    capabilities = session.client_capabilities
    shown = capabilities.elicitation if capabilities is not None else None
    can_show = shown is not None and (shown.form is not None or shown.url is None)
    return tool == "launch_finetune" and answer.is_error is True and code == "approval_needed" and can_show


async def _ask(ctx: ServerRequestContext[Any, Any], params: types.CallToolRequestParams, workspace: Callable[[], Workspace]) -> types.InputRequiredResult | bool:
    """True once a person approved. In the newer protocol the question is an answer of its own, and the call comes again with what was typed."""
    arguments = params.arguments or {}
    question = await anyio.to_thread.run_sync(partial(_question, arguments, workspace))
    said: object
    if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
        said = (params.input_responses or {}).get(KEY)
        if said is None:
            return types.InputRequiredResult(input_requests={KEY: types.ElicitRequest(params=question)})
    else:
        try:
            said = await ctx.session.elicit_form(question.message, question.requested_schema, ctx.request_id)
        except MCPError:  # the transport has no way back, or the client answers with an error
            return False
    if not isinstance(said, types.ElicitResult) or said.action != "accept":
        return False
    return await anyio.to_thread.run_sync(partial(_approve, arguments, workspace, str((said.content or {}).get(FIELD, ""))))


def _question(arguments: Mapping[str, Any], workspace: Callable[[], Workspace]) -> types.ElicitRequestFormParams:
    from asrcore.recipe import load_plan
    from asrcore.recipe.approval import over_anywhere, plan_digest
    from asrtune.cli_person import described

    ws = workspace()
    plan = load_plan(ws, arguments["plan_id"])
    text = f"{described(plan, over_anywhere(plan, ws.config))}\n\nType {plan_digest(plan)} to approve one run of exactly this plan."
    field = {"type": "string", "title": "Digest of the plan", "description": f"Type {plan_digest(plan)}, or decline."}
    return types.ElicitRequestFormParams(message=text, requested_schema={"type": "object", "properties": {FIELD: field}, "required": [FIELD]})


def _approve(arguments: Mapping[str, Any], workspace: Callable[[], Workspace], typed: str) -> bool:
    from asrcore.errors import NotReadyError
    from asrcore.jobs import Ledger
    from asrcore.recipe import load_plan
    from asrcore.recipe.approval import approve

    ws = workspace()
    try:
        with Ledger.open(ws) as ledger:
            approve(ws, ledger, load_plan(ws, arguments["plan_id"]), typed)
    except NotReadyError:  # mistyped: the refusal of the launch stands
        return False
    return True
