"""The real command line (and with `mcp` the real server), with a light module in the place of the training."""

from __future__ import annotations

from asrcore import requests
from asrtune.cli import main

if __name__ == "__main__":
    requests.MODULES["train"] = "asrtune_probe_train"
    main()
