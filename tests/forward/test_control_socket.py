"""What is said on the control socket, between the real ends of it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ssm_ssh.errors import InvalidForward, InvalidOption, SupervisorUnreachable
from ssm_ssh.forward import control_client, control_server
from ssm_ssh.forward.control_client import ask_supervisor
from ssm_ssh.forward.control_line import LARGEST_LINE_BYTES, account_digests, decode_line, encode_line
from ssm_ssh.forward.control_place import ControlPlace
from ssm_ssh.forward.control_server import run_supervisor
from ssm_ssh.forward.order import TunnelOrder
from ssm_ssh.forward.peer import peer_user
from tests.requirement import need_linux, need_root, without_privileges

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# A tunnel that never comes up: there is no such target.
ORDER = TunnelOrder("db", "-x", ("0:22",))


@pytest.fixture
def place() -> Iterator[ControlPlace]:
    """A place with a short path."""
    with tempfile.TemporaryDirectory(prefix="run-") as name:
        folder = Path(name)
        yield ControlPlace(folder / "control", folder / "starting.lock", folder / "running.lock")


@asynccontextmanager
async def supervisor(place: ControlPlace) -> AsyncIterator[None]:
    """A supervisor that answers, for the length of a block or until it is over."""
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run_supervisor(place, [], ready=ready.set))
        await ready.wait()
        yield
        running.cancel()
    assert not place.socket.exists()


def up(order: TunnelOrder = ORDER) -> dict[str, Any]:
    """A request."""
    return {"verb": "up", "tunnels": [order.as_json()], "variables": account_digests()}


def test_up_status_and_down(place: ControlPlace) -> None:
    """A tunnel that fails is told with its failure, shown, and taken down; then all is over."""

    async def scenario() -> None:
        async with supervisor(place):
            answer = await asyncio.to_thread(ask_supervisor, place, up())
            assert answer is not None
            (told,) = answer["tunnels"]
            assert told["name"] == "db"
            assert told["state"] == "waiting"
            assert "'-x' is not a target" in told["failure"]["text"]
            assert told["failure"]["exit_status"] == 2
            answer = await asyncio.to_thread(ask_supervisor, place, {"verb": "status"})
            assert answer is not None
            assert answer["supervisor"]["process_id"] == os.getpid()
            assert [tunnel["name"] for tunnel in answer["tunnels"]] == ["db"]
            answer = await asyncio.to_thread(ask_supervisor, place, {"verb": "down", "names": []})
            assert answer == {"version": 1, "ended": ["db"], "is_over": True}
        assert await asyncio.to_thread(ask_supervisor, place, {"verb": "status"}) is None

    asyncio.run(scenario(), debug=True)


def test_the_socket_is_ours_alone_and_a_stale_one_is_replaced(place: ControlPlace) -> None:
    """0600; what a killed supervisor left is taken away, and so is ours at the end."""

    async def scenario() -> None:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(place.socket))
        async with supervisor(place):
            assert place.socket.stat().st_mode & 0o777 == 0o600

    asyncio.run(scenario(), debug=True)


def test_a_tunnel_without_a_profile_needs_the_same_account(
    place: ControlPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor would use its own variables; the names of those that differ are told, never a value."""

    async def scenario() -> None:
        async with supervisor(place):
            monkeypatch.setenv("AWS_PROFILE", "prod-secret")
            with pytest.raises(InvalidOption, match=r"other variables than yours: AWS_PROFILE$") as caught:
                await asyncio.to_thread(ask_supervisor, place, up())
            assert "[tunnels.db]" in str(caught.value.hint)
            assert "prod-secret" not in json.dumps(up())
            own = TunnelOrder("db", "-x", ("0:22",), profile="prod")
            assert await asyncio.to_thread(ask_supervisor, place, up(own)) is not None

    asyncio.run(scenario(), debug=True)


@pytest.mark.parametrize(
    "request_fields",
    [
        {},
        {"verb": "dance"},
        {"verb": "up"},
        {"verb": "up", "tunnels": [{}], "variables": {}},
        {"verb": "down", "names": "db"},
    ],
)
def test_what_is_not_understood_is_an_error(place: ControlPlace, request_fields: dict[str, Any]) -> None:
    """The supervisor lives on."""

    async def scenario() -> None:
        async with supervisor(place):
            with pytest.raises(InvalidOption, match="not understood"):
                await asyncio.to_thread(ask_supervisor, place, request_fields)
            assert await asyncio.to_thread(ask_supervisor, place, {"verb": "status"}) is not None

    asyncio.run(scenario(), debug=True)


@pytest.mark.parametrize(
    "line",
    [b"", b"x\n", b"[]\n", b'{"version": 2, "verb": "down"}\n', b"[" * 50_000 + b"\n", b"x" * 2_000_000],
)
def test_garbage_harms_nobody(place: ControlPlace, line: bytes) -> None:
    """It is answered by an error where there is a line; nothing is taken down by it."""

    def say() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(place.socket))
            try:
                connection.sendall(line)
                connection.shutdown(socket.SHUT_WR)
                return connection.recv(65_536)
            except OSError:
                return b""

    async def scenario() -> None:
        async with supervisor(place):
            said = await asyncio.to_thread(say)
            assert not said or "error" in json.loads(said)
            assert await asyncio.to_thread(ask_supervisor, place, {"verb": "status"}) is not None

    asyncio.run(scenario(), debug=True)


def test_silence_does_not_last(place: ControlPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who connects and says nothing is let go."""
    monkeypatch.setattr(control_server, "_REQUEST_SECONDS", 0.05)

    async def scenario() -> None:
        async with supervisor(place):
            reader, writer = await asyncio.open_unix_connection(str(place.socket))
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    asyncio.run(scenario(), debug=True)


# Run by another user: say something to the socket, or be what listens on it.
_SAY = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(b'{"version": 1, "verb": "status"}\\n')
print(connection.recv(9))
"""
_LISTEN = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
listener.listen()
print("up", flush=True)
sys.stdin.read()
"""


def by_another_user(program: str, place: ControlPlace) -> list[str]:
    """A command that runs ``program`` as nobody."""
    return without_privileges([sys.executable, "-c", program, str(place.socket)])


def test_another_user_is_refused(place: ControlPlace, caplog: pytest.LogCaptureFixture) -> None:
    """By the socket's mode; and should that ever be wrong, by what the kernel says of the other end."""
    need_linux()
    need_root()

    async def say() -> tuple[str, str]:
        process = await asyncio.create_subprocess_exec(
            *by_another_user(_SAY, place), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate()
        return out.decode(), err.decode()

    async def scenario() -> None:
        async with supervisor(place):
            _, err = await say()
            assert "Permission denied" in err
            place.socket.chmod(0o666)
            out, _ = await say()
            # Refused unread: that may be an end, a reset or a broken pipe.
            assert "version" not in out, out

    asyncio.run(scenario(), debug=True)
    assert "another user of this machine (uid 65534) was refused" in caplog.messages


def test_another_user_s_supervisor_is_refused(place: ControlPlace) -> None:
    """Nothing is said to it."""
    need_linux()
    need_root()
    place.socket.parent.chmod(0o777)
    with subprocess.Popen(
        by_another_user(_LISTEN, place), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as listening:
        assert listening.stdout is not None
        assert listening.stdout.readline() == b"up\n"
        with pytest.raises(SupervisorUnreachable, match=r"another user's \(uid 65534\)"):
            ask_supervisor(place, {"verb": "status"})
        listening.communicate()


def test_the_kernel_tells_whose_socket_it_is() -> None:
    """Ours, in both directions."""
    need_linux()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_user(ours) == peer_user(theirs) == os.geteuid()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"x\n", "not understood"),
        (b'{"version": 9}\n', "another version"),
        (b"x" * (LARGEST_LINE_BYTES + 9), "not understood"),
    ],
)
def test_what_is_no_supervisor_is_told(place: ControlPlace, answer: bytes, error: str) -> None:
    """Whatever answers, the command ends with an error."""
    with pytest.raises(SupervisorUnreachable, match=error), answering(place, answer):
        ask_supervisor(place, {"verb": "status"})


def test_a_supervisor_that_hangs_is_told(place: ControlPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command does not hang with it; one that ends without a word was just ending."""
    monkeypatch.setattr(control_client, "ANSWER_SECONDS", 0.1)
    with pytest.raises(SupervisorUnreachable, match="did not answer"), answering(place, None):
        ask_supervisor(place, {"verb": "status"})
    monkeypatch.setattr(control_client, "ANSWER_SECONDS", 20)
    place.socket.unlink()
    with answering(place, b""):
        assert ask_supervisor(place, {"verb": "status"}) is None


def test_who_does_not_wait_for_the_answer_harms_nobody(place: ControlPlace) -> None:
    """Ctrl-C in ``up``: the tunnels are brought up all the same."""

    async def scenario() -> None:
        async with supervisor(place):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(place.socket))
                connection.sendall(encode_line(up()))
            answer = await asyncio.to_thread(ask_supervisor, place, up())
            assert answer is not None
            assert [tunnel["name"] for tunnel in answer["tunnels"]] == ["db"]

    asyncio.run(scenario(), debug=True)


def test_a_place_that_is_taken_is_told(place: ControlPlace) -> None:
    """A file of the user's is not replaced; the error is one, not a group."""
    place.socket.write_text("mine")
    with pytest.raises(InvalidForward, match="is there already"):
        asyncio.run(run_supervisor(place, [], ready=lambda: None), debug=True)
    assert place.socket.read_text() == "mine"


def test_a_socket_of_another_kind_is_told(place: ControlPlace) -> None:
    """It cannot be connected to, and that is not the same as nobody there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(place.socket))
        with pytest.raises(SupervisorUnreachable, match="cannot be reached"):
            ask_supervisor(place, {"verb": "status"})


def test_a_supervisor_that_is_killed_meanwhile_is_none(place: ControlPlace) -> None:
    """Its connections break unanswered."""
    with answering(place, b"", hears=False):
        assert ask_supervisor(place, {"verb": "status"}) is None


def test_a_socket_that_is_none_is_told(place: ControlPlace) -> None:
    """A file in its place is no supervisor; nothing at all is simply none."""
    assert ask_supervisor(place, {"verb": "status"}) is None
    if sys.platform == "linux":
        place.socket.mkdir()
        assert ask_supervisor(place, {"verb": "status"}) is None


class answering:  # noqa: N801 -- reads as a statement
    """Something listens in the supervisor's place and says ``answer``, or nothing for a while."""

    def __init__(self, place: ControlPlace, answer: bytes | None, *, hears: bool = True) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place.socket))
        self._listener.listen()
        self._answer = answer
        self._hears = hears
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            if self._hears:
                connection.recv(65_536)
            else:
                connection.recv(1, socket.MSG_PEEK)
            if self._answer is None:
                self._is_over.wait(20)
            else:
                connection.sendall(self._answer)


def test_a_line_is_one_line_of_text() -> None:
    """Whatever is in it; what is decoded is what was encoded."""
    fields = {"verb": "down", "names": ["a\nb", "\u2028é"]}
    line = encode_line(fields)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert decode_line(line) == {"version": 1, **fields}
