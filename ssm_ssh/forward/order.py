"""What is to be kept up under a name: a tunnel of the config file, ready to be handed to another process."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ssm_ssh.errors import InvalidForward, InvalidOption, UsageError
from ssm_ssh.forward.options import Account, TunnelOptions
from ssm_ssh.forward.spec import parse_dynamic_forward, parse_local_forward
from ssm_ssh.forward.tunnel import open_tunnel_to
from ssm_ssh.session.document import default_reason, parse_document_name
from ssm_ssh.session.limits import DEFAULT_RESUME_MINUTES, PAYLOAD_SIZES, RESUME_MINUTES, SESSIONS
from ssm_ssh.session.session import SessionOptions
from ssm_ssh.session.settings import choose_target

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    from ssm_ssh.forward.tunnel import Forward, Tunnel
    from ssm_ssh.session.settings import Settings

_TEXTS = ("name", "target")
_OPTIONAL_TEXTS = ("socks", "profile", "region", "stream_endpoint", "document_name")


@dataclass(frozen=True, slots=True)
class TunnelOrder:
    """One tunnel that is to be up.

    Attributes:
        name: What the user calls it.
        target: A node id or a Name tag.
        forwards: As after ``-L``.
        socks: As after ``-D``; None for none.
        profile: None for what the environment and the AWS configuration of whoever carries it out say;
            likewise the region.
        payload_bytes: A fixed payload size, or None to search.
    """

    name: str
    target: str
    forwards: tuple[str, ...]
    socks: str | None = None
    profile: str | None = None
    region: str | None = None
    stream_endpoint: str | None = None
    sessions: int = 1
    document_name: str | None = None
    resume_minutes: int = DEFAULT_RESUME_MINUTES
    payload_bytes: int | None = None

    def as_json(self) -> dict[str, Any]:
        """For ``read_order``."""
        return asdict(self)

    def read_forwards(self) -> list[Forward]:
        """All of them, ``socks`` last. Raises ``InvalidForward``."""
        read: list[Forward] = [parse_local_forward(text) for text in self.forwards]
        return read if self.socks is None else [*read, parse_dynamic_forward(self.socks)]

    def open(self) -> AbstractAsyncContextManager[Tunnel]:
        """The tunnel, up for the length of the block. Raises ``SsmSshError``, now or at its start."""
        options = TunnelOptions(
            sessions=self.sessions,
            document_name=self.document_name,
            reason=default_reason(f"up {self.name}"),
            session=SessionOptions(
                resume_seconds=60.0 * self.resume_minutes, payload_bytes=self.payload_bytes
            ),
        )
        account = Account(self.profile, self.region, self.stream_endpoint)
        return open_tunnel_to(self.target, self.read_forwards(), account, options)


def read_order(fields: object) -> TunnelOrder:
    """What ``TunnelOrder.as_json`` made, from a program that may be of another version.

    Raises:
        InvalidOption: If it is not understood.
    """
    if not isinstance(fields, dict) or fields.keys() != TunnelOrder.__dataclass_fields__.keys():
        raise _not_understood()
    forwards = fields["forwards"]
    is_good = (
        all(isinstance(fields[name], str) for name in _TEXTS)
        and all(fields[name] is None or isinstance(fields[name], str) for name in _OPTIONAL_TEXTS)
        and isinstance(forwards, list)
        and all(isinstance(text, str) for text in forwards)
        and _is_number(fields["sessions"], SESSIONS)
        and _is_number(fields["resume_minutes"], RESUME_MINUTES)
        and (fields["payload_bytes"] is None or _is_number(fields["payload_bytes"], PAYLOAD_SIZES))
    )
    if not is_good:
        raise _not_understood()
    if fields["document_name"] is not None:
        parse_document_name(fields["document_name"])
    order = TunnelOrder(**{**fields, "forwards": tuple(forwards)})
    order.read_forwards()
    return order


def _is_number(value: object, allowed: range) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in allowed


def _not_understood() -> InvalidOption:
    return InvalidOption(
        "the tunnel was not understood",
        hint="the supervisor is of another version: `ssm-ssh down`, then `ssm-ssh up` again",
    )


def order_tunnels(settings: Settings, names: Iterable[str]) -> list[TunnelOrder]:
    """The orders for some tunnels of the config file, or for all of them where no name is given.

    Raises:
        InvalidOption: If there is no such tunnel, or none at all.
        InvalidForward: If one of its forwards cannot be understood; names file and line.
    """
    wanted = list(dict.fromkeys(names)) or list(settings.tunnels)
    for name in wanted:
        if name not in settings.tunnels:
            known = ", ".join(sorted(settings.tunnels))
            hint = f"there are {known}" if known else _no_tunnels(settings)
            raise InvalidOption(f"the config file has no tunnel {name!r}", hint=hint)
    if not wanted:
        raise InvalidOption("there is no tunnel to bring up", hint=_no_tunnels(settings))
    return [_order(settings, name) for name in wanted]


def _no_tunnels(settings: Settings) -> str:
    place = settings.path or "~/.config/ssm-ssh/config.toml"
    return f'write a section [tunnels.NAME] with target = "…" and forwards = ["…"] into {place}'


def _order(settings: Settings, name: str) -> TunnelOrder:
    tunnel, defaults = settings.tunnels[name], settings.defaults
    minutes = defaults.resume_minutes
    chosen = choose_target(
        settings,
        tunnel.target,
        profile=tunnel.profile,
        region=tunnel.region,
        document_name=tunnel.document,
    )
    order = TunnelOrder(
        name,
        chosen.target,
        tunnel.forwards,
        tunnel.socks,
        profile=chosen.profile,
        region=chosen.region,
        sessions=tunnel.sessions,
        document_name=chosen.document_name,
        resume_minutes=DEFAULT_RESUME_MINUTES if minutes is None else minutes,
        payload_bytes=defaults.payload_size,
    )
    try:
        order.read_forwards()
    except UsageError as error:
        raise InvalidForward(f"{_place(settings, name)}: {error}", hint=error.hint) from error
    return order


def _place(settings: Settings, name: str) -> str:
    from ssm_ssh.session.settings_text import place_of  # noqa: PLC0415 -- only paid for on failure

    return place_of(settings, "tunnels", name)
