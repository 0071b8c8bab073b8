"""Every exception that leaves this package, in one tree.

Categories end in ``Error``; leaves name what happened, so that ``except SessionLost`` reads as a sentence.
Facts are attributes, the sentence is composed in ``__str__`` and is always one line, and ``hint`` is the next
thing to try. What reaches a socket API is also the matching ``OSError``, built with ``(errno, text)``. All of
them survive ``pickle`` and ``copy``: process pools and test runners move exceptions about.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Any, ClassVar, TypeVar

_SomeError = TypeVar("_SomeError", bound="SsmSshError")


class ExitStatus(IntEnum):
    """What a command's exit status means; the same table for every command but ``proxy``."""

    FINE = 0
    DIFFERENCES = 1
    USAGE = 2
    REFUSED_BY_AWS = 3
    PROTOCOL = 4
    LOST = 5
    TIMED_OUT = 6
    INTERRUPTED = 130
    PROXY_FAILED = 255
    """Any failure of ``proxy``, as ssh does."""


class SsmSshError(Exception):
    """The root of the tree. Unless a leaf says otherwise, its last fact is the sentence.

    Attributes:
        hint: One sentence naming the next thing to try, or None where nothing useful can be said.
        exit_status: What a command that fails with this returns.
    """

    exit_status: ClassVar[ExitStatus] = ExitStatus.LOST
    hint: str | None = None

    def __init__(self, *facts: object, hint: str | None = None) -> None:
        super().__init__(*facts)
        if hint is not None:
            self.hint = hint

    def __str__(self) -> str:
        return _one_line(self.args[-1]) if self.args else type(self).__name__

    def __reduce__(self) -> tuple[Any, ...]:
        # Python would call the class with ``args``, which are not what the constructors of the leaves take.
        return _without_facts, (type(self), self.args), self.__dict__


def _without_facts(kind: type[_SomeError], args: tuple[object, ...]) -> _SomeError:
    """A ``kind`` with its ``args``, but still without the attributes that its constructor sets."""
    error = kind.__new__(kind)
    # Sets errno and strerror as well, where the kind is an OSError.
    SsmSshError.__init__(error, *args)
    return error


def _one_line(text: object) -> str:
    """Foreign words without their line breaks."""
    return " ".join(str(text).split())


# --- what the user wrote ---------------------------------------------------------------------------------


class UsageError(SsmSshError):
    """Something the user wrote cannot be used."""

    exit_status = ExitStatus.USAGE
    hint = "`ssm-ssh COMMAND --help` shows what can be given"


class InvalidTarget(UsageError):
    """A target that is no node id, no name and none of the other forms."""

    hint = "a target is a node id (i-… or mi-…) or the Name tag of a node"

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(target, reason)
        self.target = target
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.target!r} is not a target: {_one_line(self.reason)}"


class InvalidOption(UsageError):
    """An option, a setting or a value of one that cannot be used."""


class InvalidForward(UsageError):
    """A forward that cannot be understood, or whose local end cannot be had."""

    hint = "a forward is [bind:]port:host:hostport, or port:hostport for a port of the node itself"


# --- what AWS said ---------------------------------------------------------------------------------------


class ControlPlaneError(SsmSshError):
    """AWS refused a call.

    Attributes:
        operation: The API operation, such as ``StartSession``.
        code: AWS's error code, such as ``AccessDeniedException``; empty when there was no answer.
        message: AWS's own words, or ours where AWS did not answer.
        request_id: AWS's id of the request, or None when it sent none.
    """

    exit_status = ExitStatus.REFUSED_BY_AWS
    hint = "the code and the words are AWS's own; -vv shows the call they answer"

    def __init__(
        self,
        operation: str,
        code: str,
        message: str,
        *,
        request_id: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(operation, code, message, hint=hint)
        self.operation = operation
        self.code = code
        self.message = message
        self.request_id = request_id

    def __str__(self) -> str:
        code = f" ({self.code})" if self.code else ""
        request = f" [request {self.request_id}]" if self.request_id else ""
        return f"{self.operation} failed{code}: {_one_line(self.message) or 'no reason given'}{request}"


class AccessDenied(ControlPlaneError):
    """The caller's policies do not allow the call."""

    hint = "ask for a policy that allows this action on this resource, or use another --profile"


class CredentialsMissing(ControlPlaneError):
    """No credentials were found anywhere botocore looks."""

    hint = "set AWS_PROFILE or --profile, or put credentials where the AWS SDKs look for them"


class CredentialsExpired(ControlPlaneError):
    """The credentials were valid once."""

    hint = "renew them (aws sso login, or your usual way) and try again"


class RegionMissing(ControlPlaneError):
    """No region was configured."""

    hint = "set AWS_REGION or --region, or a region in the profile"


class TargetNotFound(ControlPlaneError):
    """No node answers to the target."""

    hint = (
        "check the spelling, the region and the account; `aws ssm describe-instance-information` lists nodes"
    )


class TargetNotConnected(ControlPlaneError):
    """The service knows no connected agent for the target."""

    hint = (
        "check that the node runs, that its agent runs and reaches ssmmessages, that its role allows "
        "ssmmessages:CreateDataChannel, and that region and account are the node's"
    )


class Throttled(ControlPlaneError):
    """AWS asked to slow down, and went on asking after the retries."""

    hint = "try again in a minute, or start fewer sessions at once"


class EndpointUnreachable(ControlPlaneError):
    """No answer came from the endpoint: name, network, proxy or certificate."""

    exit_status = ExitStatus.LOST
    hint = "check the network, the region's name, HTTPS_PROXY and NO_PROXY, and AWS_CA_BUNDLE"


# --- handshake and protocol ------------------------------------------------------------------------------


class HandshakeError(SsmSshError):
    """The agent asked for what we cannot do, or refused us."""

    exit_status = ExitStatus.PROTOCOL
    hint = "try the default session document, and update the agent on the node if it is old"


class EncryptionError(HandshakeError):
    """A key, a challenge or an authentication tag failed."""

    hint = "check that you may call kms:GenerateDataKey and the node's role kms:Decrypt on the session's key"


class ProtocolError(SsmSshError):
    """The rules of the protocol were broken; abstract."""

    exit_status = ExitStatus.PROTOCOL


class LocalProtocolError(ProtocolError):
    """Our caller broke the rules: a bug in this package."""

    hint = "this is a bug in ssm-ssh; please report it with the output of -vv"


class RemoteProtocolError(ProtocolError):
    """The other side sent something that breaks the rules."""

    hint = (
        "something between here and the node changes the stream, or the service changed; try again with -vv"
    )


class MalformedMessage(RemoteProtocolError):
    """Bytes that are no message: the one exception of the wire floor.

    Attributes:
        reason: What is wrong.
        offset: Where, in bytes from the start of the message, or None where no place can be named.
    """

    def __init__(self, reason: str, *, offset: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset

    def __str__(self) -> str:
        where = "" if self.offset is None else f" at byte {self.offset}"
        return f"malformed message{where}: {_one_line(self.reason)}"


class UntrustedStreamUrl(RemoteProtocolError):
    """A stream URL that is not the service's: neither token nor signature may go there.

    Attributes:
        url: The URL with ``…`` for its query, which may hold a signature.
        reason: What is wrong with it.
    """

    hint = "if this endpoint is yours, name it with --stream-endpoint or AWS_ENDPOINT_URL_SSMMESSAGES"

    def __init__(self, url: str, reason: str) -> None:
        place, mark, _ = url.partition("?")
        url = place + mark + "…" * len(mark)
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"refused the stream URL {self.url!r}: {_one_line(self.reason)}"


class UntrustedCertificate(RemoteProtocolError):
    """A server behind the tunnel showed another certificate than the node told of.

    Attributes:
        shown: Thumbprint of the one that was shown.
        expected: Thumbprint of the one that the node's console told of.
    """

    hint = (
        "somebody may be between, or the node got a new certificate since it was started: then restart it, "
        "and its console tells of the new one"
    )

    def __init__(self, shown: str, expected: str) -> None:
        super().__init__(shown, expected)
        self.shown = shown
        self.expected = expected

    def __str__(self) -> str:
        return _one_line(
            f"the server showed the certificate {self.shown}, the node's console tells of {self.expected}"
        )


# --- a session's ends ------------------------------------------------------------------------------------


class SessionEnded(SsmSshError):
    """The session ended normally: a state, raised only where somebody still wanted to use it."""

    exit_status = ExitStatus.FINE
    hint = "start a new session"

    def __str__(self) -> str:
        return "the session has ended"


class SessionFailed(SsmSshError):
    """The service or the agent ended the session and said why.

    Attributes:
        output: The agent's or the service's own words.
    """

    hint = "the words are the agent's; its log on the node (amazon-ssm-agent.log) may tell more"

    def __init__(self, session_id: str, output: str, *, hint: str | None = None) -> None:
        super().__init__(session_id, output, hint=hint)
        self.session_id = session_id
        self.output = output

    def __str__(self) -> str:
        return f"session {self.session_id} was ended: {_one_line(self.output) or 'no reason given'}"


class DataChannelRefused(SsmSshError):
    """The message gateway refused to open the data channel.

    Attributes:
        status: HTTP status of the refused upgrade, or None where no HTTP answer came.
    """

    hint = (
        "check that your policies allow ssmmessages:OpenDataChannel, and that every proxy on the way lets "
        "WebSockets pass"
    )

    def __init__(self, reason: str, *, status: int | None = None, hint: str | None = None) -> None:
        super().__init__(reason, hint=hint)
        self.reason = reason
        self.status = status

    def __str__(self) -> str:
        return f"the data channel was refused: {_one_line(self.reason)}"


class DataChannelLost(SsmSshError):
    """The WebSocket under a data channel is gone; the session may be resumed.

    Attributes:
        reason: What was seen.
        close_code: The WebSocket close code, or None where the connection just broke.
    """

    hint = "check the network between here and the service, then connect again"

    def __init__(self, reason: str, *, close_code: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.close_code = close_code

    def __str__(self) -> str:
        return f"the data channel was lost: {_one_line(self.reason)}"


class SessionLost(SsmSshError, ConnectionError):
    """The session could not be resumed in time; ``__cause__`` is the last failure."""

    hint = "the node or the network was away too long; connect again"

    def __init__(self, text: str) -> None:
        super().__init__(errno.ECONNABORTED, text)


class SupervisorUnreachable(SsmSshError):
    """The supervisor of the tunnels in the background could not be started, or does not answer."""

    hint = "its log may tell why; `ssm-ssh up --foreground` runs it before your eyes"


class SessionTimeout(SsmSshError, TimeoutError):
    """A step took too long.

    Attributes:
        step: What was being done, such as ``waiting for the agent``.
        seconds: How long.
    """

    exit_status = ExitStatus.TIMED_OUT
    hint = "check that the node and its agent are well and the network between is not cut, then try again"

    def __init__(self, step: str, seconds: float, *, hint: str | None = None) -> None:
        super().__init__(errno.ETIMEDOUT, f"{step}: nothing for {seconds:g} seconds", hint=hint)
        self.step = step
        self.seconds = seconds


class StreamError(SsmSshError):
    """One byte stream inside a session failed; the session lives on."""

    hint = "connect again; if it happens again, look at what listens on that port of the node"


class StreamReset(StreamError, ConnectionResetError):
    """One stream died."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.ECONNRESET, text)


class DestinationRefused(StreamError, ConnectionRefusedError):
    """The node could not reach the port."""

    hint = "check that something listens on that port of the node"

    def __init__(self, text: str) -> None:
        super().__init__(errno.ECONNREFUSED, text)
