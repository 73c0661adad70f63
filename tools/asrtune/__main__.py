"""`python -m asrtune` is the `asrtune` command."""

from __future__ import annotations

from asrtune.cli import main

if __name__ == "__main__":
    main()
