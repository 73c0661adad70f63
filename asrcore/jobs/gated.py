"""`python -m asrcore.jobs.gated COMMAND...`: becomes COMMAND once the supervisor has written down who this process is, or ends without it."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from asrcore.jobs.child import STOPPED_EXIT
from asrcore.jobs.process import wait_at_gate


def main() -> NoReturn:
    if not wait_at_gate():
        sys.exit(STOPPED_EXIT)
    os.environ["PYTHONSAFEPATH"] = "1"  # as -P does: the job's folder holds data, and torchrun starts Python without it
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606


if __name__ == "__main__":
    main()
