"""Live transcription over a WebSocket: a light front that talks to clients, and a child process that owns the model (docs/concepts/serving.md).

    client <-> app.py (HTTP, who may connect) <-> session.py (one client) <-> engine.py <=frames of wire.py=> asrcore.model.serve (torch)

Importing this package loads no aiohttp; `asrcore.serve.app` does.
"""

from __future__ import annotations
