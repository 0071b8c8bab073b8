"""The console script ``ssm-ssh`` and ``python -m ssm_ssh``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line of this process and return its exit status."""
    try:
        from ssm_ssh.cli.main import run  # noqa: PLC0415 -- the start-up cost is paid where it is needed

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        # Ctrl-C so early that a traceback would tell of our imports.
        from ssm_ssh.errors import ExitStatus  # noqa: PLC0415 -- likewise

        return ExitStatus.INTERRUPTED


if __name__ == "__main__":
    raise SystemExit(main())
