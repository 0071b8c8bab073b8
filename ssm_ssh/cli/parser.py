"""What commands read by argparse have in common: the options of all of them, and how a mistake is told."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from ssm_ssh.errors import InvalidOption
from ssm_ssh.session.document import (
    default_reason,
    parse_document_name,
    parse_parameters,
    parse_reason,
)
from ssm_ssh.session.limits import DEFAULT_RESUME_MINUTES, PAYLOAD_SIZES, RESUME_MINUTES
from ssm_ssh.session.session import SessionOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssm_ssh.session.settings import Defaults


class CommandParser(argparse.ArgumentParser):
    """argparse, with this program's error lines and without guessing what a shortened option means."""

    def __init__(  # noqa: PLR0913 -- argparse's own
        self,
        *,
        prog: str | None = None,
        usage: str | None = None,
        description: str | None = None,
        epilog: str | None = None,
        parents: Sequence[argparse.ArgumentParser] = (),
        add_help: bool = True,
    ) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog,
            parents=list(parents),
            add_help=add_help,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """A mistake in the words. Raises ``InvalidOption``."""
        raise InvalidOption(message, hint=f"`{self.prog} --help` tells what it takes")


def account_options() -> CommandParser:
    """A parent parser: whose nodes, and how much to tell."""
    parser = CommandParser(add_help=False)
    parser.add_argument("--profile", metavar="NAME", help="the AWS profile, as AWS_PROFILE")
    parser.add_argument("--region", metavar="NAME", help="the AWS region, as AWS_REGION")
    parser.add_argument("-v", dest="verbosity", action="count", default=0, help="tell more; -vv still more")
    return parser


def session_options() -> CommandParser:
    """A parent parser: ``account_options``, and what is to be said about sessions that are started."""
    parser = CommandParser(add_help=False, parents=[account_options()])
    parser.add_argument("--reason", metavar="TEXT", help="what the session list and CloudTrail show")
    parser.add_argument(
        "--document-name", metavar="NAME", help="a Port document of your own instead of AWS's"
    )
    parser.add_argument(
        "--parameters",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a parameter of the document; may be repeated",
    )
    parser.add_argument(
        "--stream-endpoint",
        metavar="URL",
        help="where streams go instead of the service's name, as AWS_ENDPOINT_URL_SSMMESSAGES",
    )
    parser.add_argument(
        "--resume-minutes",
        metavar="N",
        help="how long to try to resume a session whose stream was lost (10)",
    )
    parser.add_argument(
        "--payload-size", metavar="BYTES", help="a fixed message size instead of searching for the largest"
    )
    return parser


def read_reason(given: argparse.Namespace, verb: str) -> str:
    """The session's reason. Raises ``InvalidOption``."""
    return default_reason(verb) if given.reason is None else parse_reason(given.reason)


def read_document_name(given: argparse.Namespace) -> str | None:
    """The document's name, or None for AWS's. Raises ``InvalidOption``."""
    return None if given.document_name is None else parse_document_name(given.document_name)


def read_parameters(given: argparse.Namespace) -> dict[str, list[str]]:
    """The document's parameters. Raises ``InvalidOption``."""
    return parse_parameters(given.parameters)


def read_session_options(given: argparse.Namespace, defaults: Defaults) -> SessionOptions:
    """The choices about every session. Raises ``InvalidOption``."""
    minutes, payload_bytes = defaults.resume_minutes, defaults.payload_size
    if given.resume_minutes is not None:
        minutes = read_number("--resume-minutes", given.resume_minutes, RESUME_MINUTES)
    if given.payload_size is not None:
        payload_bytes = read_number("--payload-size", given.payload_size, PAYLOAD_SIZES)
    return SessionOptions(
        resume_seconds=60.0 * (DEFAULT_RESUME_MINUTES if minutes is None else minutes),
        payload_bytes=payload_bytes,
    )


def read_number(option: str, text: str, allowed: range) -> int:
    """A whole number. Raises ``InvalidOption`` if it is none of the allowed ones."""
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) in allowed:
        return int(text)
    raise InvalidOption(
        f"{option} {text!r} cannot be used", hint=f"a whole number from {allowed[0]} to {allowed[-1]}"
    )
