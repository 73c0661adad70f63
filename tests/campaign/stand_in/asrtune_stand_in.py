"""The campaign of `embedded.toml` with stand-ins in the place of the model: `python -m asrtune_stand_in HOME`."""

from __future__ import annotations

import sys
from pathlib import Path

from asrcore import requests
from tests.campaign.embedded import Player, Size, load_script

MODULES = {"train": "asrtune_stand_in_train", "eval": "asrtune_stand_in_eval"}
SIZE = Size(train=8, steps=5)
"""Few recordings to pack; the test sets stay whole, since verdicts need their words."""

if __name__ == "__main__":
    requests.MODULES.update(MODULES)
    Player(Path(sys.argv[1]), load_script(), SIZE).play()
