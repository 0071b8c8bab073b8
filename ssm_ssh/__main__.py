"""The console script ``ssm-ssh`` and ``python -m ssm_ssh``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line of this process and return its exit status."""
    from ssm_ssh.cli.main import run  # noqa: PLC0415 -- the start-up cost is paid where it is needed

    return run(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
