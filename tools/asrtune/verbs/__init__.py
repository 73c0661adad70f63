"""One module per tool: `Input`, `Output` and `run(request, ws) -> Result[Output]`. The module's docstring is the tool's description.

Nothing is imported here: a verb loads when it is called (`asrtune.registry.load`).
"""
