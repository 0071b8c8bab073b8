"""The exceptions: one line each, a hint each, and the same after pickle and copy."""

from __future__ import annotations

import copy
import errno
import pickle
import traceback
from typing import TYPE_CHECKING, Any, Final

import pytest

from ssm_ssh import errors
from ssm_ssh.errors import (
    ControlPlaneError,
    DataChannelLost,
    DataChannelRefused,
    DestinationRefused,
    ExitStatus,
    HandshakeError,
    InvalidTarget,
    MalformedMessage,
    ProtocolError,
    SessionEnded,
    SessionFailed,
    SessionLost,
    SessionTimeout,
    SsmSshError,
    StreamError,
    StreamReset,
    UntrustedCertificate,
    UntrustedStreamUrl,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What AWS, an agent or a proxy may say.
FOREIGN: Final = "first line\r\nsecond\tline \u2028 third\n"
FOREIGN_LINE: Final = "first line second line third"

# How to make one of each; a class without a constructor of its own is made as its nearest base is.
ARGUMENTS: Final[dict[type[SsmSshError], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    SsmSshError: ((FOREIGN,), {"hint": "try again"}),
    InvalidTarget: (("web\n1", FOREIGN), {}),
    ControlPlaneError: (
        ("StartSession", "SomeException", FOREIGN),
        {"request_id": "1-2", "hint": "ask"},
    ),
    MalformedMessage: ((FOREIGN,), {"offset": 80}),
    UntrustedStreamUrl: (("wss://evil.example/v1/data-channel/s?X-Amz-Signature=secret", FOREIGN), {}),
    UntrustedCertificate: (("AB" * 20, FOREIGN), {}),
    SessionEnded: ((), {}),
    SessionFailed: (("alice-0123", FOREIGN), {"hint": "ask"}),
    DataChannelRefused: ((FOREIGN,), {"status": 403, "hint": "ask"}),
    DataChannelLost: ((FOREIGN,), {"close_code": 1000}),
    SessionLost: ((FOREIGN,), {}),
    SessionTimeout: (("waiting for\nthe agent", 15.0), {"hint": "ask"}),
    StreamReset: ((FOREIGN,), {}),
    DestinationRefused: ((FOREIGN,), {}),
}
# These are never met: they only hold others together.
ABSTRACT: Final = {SsmSshError, ProtocolError}
# The two ends of the sessions' tree and the categories, as the command line's table has them.
STATUSES: Final = {
    UsageError: 2,
    ControlPlaneError: 3,
    HandshakeError: 4,
    ProtocolError: 4,
    SessionEnded: 0,
    SessionFailed: 5,
    DataChannelRefused: 5,
    DataChannelLost: 5,
    SessionLost: 5,
    StreamError: 5,
    SessionTimeout: 6,
}


def tree(kind: type[SsmSshError] = SsmSshError) -> Iterator[type[SsmSshError]]:
    """The class and everything below it that is defined beside it."""
    yield kind
    for leaf in kind.__subclasses__():
        if leaf.__module__ == errors.__name__:
            yield from tree(leaf)


def make(kind: type[SsmSshError]) -> SsmSshError:
    """One exception of the kind, with every fact it can have."""
    arguments, keywords = next(ARGUMENTS[above] for above in kind.__mro__ if above in ARGUMENTS)
    return kind(*arguments, **keywords)


def through_pickle(error: SsmSshError) -> SsmSshError:
    """The way between two processes."""
    again: SsmSshError = pickle.loads(pickle.dumps(error))
    return again


every_kind = pytest.mark.parametrize("kind", dict.fromkeys(tree()), ids=lambda kind: kind.__name__)
socket_kinds = pytest.mark.parametrize(
    "kind", [kind for kind in tree() if issubclass(kind, OSError)], ids=lambda kind: kind.__name__
)


def test_the_whole_module_is_one_tree() -> None:
    """Whoever catches SsmSshError catches all; no class of the module is outside."""
    defined = {
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)
    }
    assert defined == set(tree())


@every_kind
def test_a_category_ends_in_error_and_a_leaf_does_not_hide_one(kind: type[SsmSshError]) -> None:
    """What has leaves below it is a category and is named like one."""
    if kind.__subclasses__():
        assert kind.__name__.endswith("Error")


@every_kind
def test_the_sentence_is_one_line(kind: type[SsmSshError]) -> None:
    """Foreign words may have any line breaks, the sentence has none and does not end in white space."""
    sentence = str(make(kind))
    assert sentence
    assert sentence.splitlines() == [sentence]
    assert sentence == sentence.strip()
    assert not sentence.startswith(("(", "["))


@every_kind
def test_there_is_a_next_thing_to_try(kind: type[SsmSshError]) -> None:
    """Every class a user can meet has a hint, one line without a full stop."""
    if kind in ABSTRACT:
        return
    hint = kind.hint
    assert hint
    assert hint.splitlines() == [hint]
    assert not hint.endswith(".")


@every_kind
@pytest.mark.parametrize("move", [through_pickle, copy.copy, copy.deepcopy])
def test_an_error_can_be_moved(kind: type[SsmSshError], move: Callable[[SsmSshError], SsmSshError]) -> None:
    """From a process pool or through copy it comes back with its class, words, facts and notes."""
    error = make(kind)
    error.add_note("while resuming")
    again = move(error)
    assert type(again) is kind
    assert again is not error
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
    assert (again.hint, again.exit_status) == (error.hint, error.exit_status)
    if isinstance(error, OSError) and isinstance(again, OSError):
        assert (again.errno, again.strerror) == (error.errno, error.strerror)


@socket_kinds
def test_what_reaches_a_socket_api_has_errno_and_strerror(kind: type[SsmSshError]) -> None:
    """Callers such as paramiko look at both."""
    error = make(kind)
    assert isinstance(error, OSError)
    assert error.errno in errno.errorcode
    assert error.strerror
    assert error.args == (error.errno, error.strerror)


def test_each_socket_kind_is_the_builtin_that_callers_catch() -> None:
    """The number and the built-in class say the same."""
    for error, builtin, number in (
        (SessionLost("x"), ConnectionError, errno.ECONNABORTED),
        (SessionTimeout("x", 1), TimeoutError, errno.ETIMEDOUT),
        (StreamReset("x"), ConnectionResetError, errno.ECONNRESET),
        (DestinationRefused("x"), ConnectionRefusedError, errno.ECONNREFUSED),
    ):
        assert isinstance(error, builtin)
        assert error.errno == number


@every_kind
def test_the_exit_status_is_the_tables(kind: type[SsmSshError]) -> None:
    """Each class returns what its nearest category returns; one leaf differs, because nobody refused."""
    if kind is errors.EndpointUnreachable:
        expected = 5
    else:
        expected = next((STATUSES[above] for above in kind.__mro__ if above in STATUSES), 5)
    assert kind.exit_status is ExitStatus(expected)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SsmSshError(), "SsmSshError"),
        (UsageError("no such option"), "no such option"),
        (InvalidTarget("a\x1bb", "it has a control character"), None),
        (ControlPlaneError("StartSession", "X", "no"), "StartSession failed (X): no"),
        (
            ControlPlaneError("StartSession", "", "", request_id="1-2"),
            "StartSession failed: no reason given [request 1-2]",
        ),
        (MalformedMessage("too short"), "malformed message: too short"),
        (MalformedMessage("too short", offset=0), "malformed message at byte 0: too short"),
        (SessionEnded(), "the session has ended"),
        (SessionFailed("a-1", FOREIGN), f"session a-1 was ended: {FOREIGN_LINE}"),
        (SessionFailed("a-1", " "), "session a-1 was ended: no reason given"),
        (DataChannelRefused("HTTP 403"), "the data channel was refused: HTTP 403"),
        (DataChannelLost("Bye", close_code=1000), "the data channel was lost: Bye"),
        (SessionLost(FOREIGN), FOREIGN_LINE),
        (SessionTimeout("waiting for the agent", 0.5), "waiting for the agent: nothing for 0.5 seconds"),
        (StreamReset("the node reset it"), "the node reset it"),
    ],
)
def test_sentences(error: SsmSshError, sentence: str | None) -> None:
    """The words, spelled once."""
    expected = r"'a\x1bb' is not a target: it has a control character" if sentence is None else sentence
    assert str(error) == expected


def test_a_hint_at_the_raise_is_the_instances_alone() -> None:
    """A better hint replaces the class's for that one exception."""
    assert UsageError("x", hint="better").hint == "better"
    assert UsageError("x").hint == UsageError.hint


def test_a_refused_urls_query_is_not_kept() -> None:
    """A stream URL may carry a signature in its query; no error hands that on."""
    error = UntrustedStreamUrl("wss://evil.example/v1?X-Amz-Security-Token=secret", "foreign host")
    assert str(error) == "refused the stream URL 'wss://evil.example/v1?…': foreign host"
    assert "secret" not in "".join([*traceback.format_exception(error), repr(error), repr(vars(error))])
