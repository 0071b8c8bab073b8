"""Programs that end when we end, however we end.

The program's parent is a shell that holds the reading end of a pipe. When the emulator stops, crashes or is
killed, the pipe closes; the shell ends the program and removes its directory. This works on every POSIX
system and needs no signal to reach anybody.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# $1 is the directory, the rest the program. A file named "keep" in the directory saves it.
_WATCHED: Final = """
directory=$1; shift
exec 3<&0
"$@" </dev/null 3<&- & program=$!
(read -r _; kill "$program") <&3 2>/dev/null & watcher=$!
exec 3<&-
wait "$program"; status=$?
kill "$watcher" 2>/dev/null; wait
[ -e "$directory/keep" ] || rm -rf -- "$directory"
exit "$status"
"""
# The same for a program that reads the pipe itself and ends with it.
_WATCHING: Final = """
directory=$1; shift
"$@"; status=$?
[ -e "$directory/keep" ] || rm -rf --one-file-system -- "$directory"
exit "$status"
"""
_PATIENCE_SECONDS: Final = 5.0


class Lifeline:
    """One program and the directory that goes with it.

    Args:
        directory: Removed when the program has ended, unless it is to be kept.
        log: Where the program's output goes.
    """

    def __init__(self, directory: Path, log: Path) -> None:
        self._directory = directory
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def is_running(self) -> bool:
        """Whether the program was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self, argv: Sequence[str], *, reads_pipe: bool = False) -> None:
        """Start the program; its directory is kept until ``settle`` is called.

        Args:
            argv: The program and its arguments.
            reads_pipe: The program ends by itself when its standard input does.
        """
        self._keep_marker.touch()
        script = _WATCHING if reads_pipe else _WATCHED
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "/bin/sh",
                "-c",
                script,
                "lifeline",
                str(self._directory),
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C in our terminal is ours to handle; the shell must live to tidy up.
                start_new_session=True,
            )

    def settle(self) -> None:
        """The program is up: from now on its directory goes when it goes."""
        self._keep_marker.unlink()

    async def stop(self, *, keep_directory: bool = False) -> None:
        """End the program and wait for it. Twice is fine."""
        process, self._process = self._process, None
        if process is None:
            return
        if keep_directory:
            self._keep_marker.touch()
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await process.wait()
        except TimeoutError:
            # The shell's group, of which it is the leader: the program goes with it.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    @property
    def _keep_marker(self) -> Path:
        return self._directory / "keep"
