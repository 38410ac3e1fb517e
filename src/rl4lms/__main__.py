"""`python -m rl4lms` is the command `rl4lms`."""

from __future__ import annotations

from rl4lms.cli.main import main

if __name__ == "__main__":
    main()
