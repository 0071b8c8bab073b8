"""``ssm-ssh proxy HOST [PORT] [USER]``: what OpenSSH's ProxyCommand runs.

Its words are read by getopt: argparse would cost 12 ms of every connection.
"""

from __future__ import annotations

import getopt
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ssm_ssh.cli.log import show_log, show_traceback
from ssm_ssh.cli.message import report
from ssm_ssh.errors import ExitStatus, InvalidOption, SsmSshError
from ssm_ssh.session.document import (
    default_reason,
    parse_document_name,
    parse_parameters,
    parse_port,
    parse_reason,
)
from ssm_ssh.session.limits import DEFAULT_RESUME_MINUTES, PAYLOAD_SIZES, RESUME_MINUTES
from ssm_ssh.session.settings_file import load_settings
from ssm_ssh.ssh.options import ProxyOptions
from ssm_ssh.ssh.proxy import run_proxy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssm_ssh.session.settings import Settings

_HELP: Final = """\
usage: ssm-ssh proxy [options] HOST [PORT] [USER]

Carries stdin and stdout to PORT (22) of the node HOST through Session Manager. In ~/.ssh/config:

    Host i-* mi-*
        ProxyCommand ssm-ssh proxy %h %p %r

HOST is a node id (i-… or mi-…), the Name tag of one node, or an alias of the config file.

options:
  --profile NAME            the AWS profile, as AWS_PROFILE
  --region NAME             the AWS region, as AWS_REGION
  --reason TEXT             what the session list and CloudTrail show
  --document-name NAME      a Port document of your own instead of AWS-StartSSHSession;
  --parameters NAME=VALUE   its parameters, one each time: with a document of your own nothing else is sent
  --stream-endpoint URL     where streams go instead of the service's name, as AWS_ENDPOINT_URL_SSMMESSAGES
  --resume-minutes N        how long to try to resume a session whose stream was lost (10)
  --payload-size BYTES      a fixed message size instead of searching for the largest that passes
  -v, -vv                   tell more on stderr
"""
_USAGE_HINT: Final = "`ssm-ssh proxy --help` tells what it takes"
_OPTIONS: Final = (
    "help",
    "profile=",
    "region=",
    "reason=",
    "document-name=",
    "parameters=",
    "stream-endpoint=",
    "resume-minutes=",
    "payload-size=",
)


def run(arguments: Sequence[str]) -> int:
    """Run the command. Returns 0, or 255 for any failure, as ssh does."""
    verbosity = 0
    try:
        given, words = _read(arguments)
        if any(name in {"-h", "--help"} for name, _ in given):
            sys.stdout.write(_HELP)
            return ExitStatus.FINE
        verbosity = sum(name == "-v" for name, _ in given)
        show_log(verbosity)
        run_proxy(_options(given, words))
    except SsmSshError as error:
        report(error)
        show_traceback(error, verbosity)
        return ExitStatus.PROXY_FAILED
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    return ExitStatus.FINE


def _read(arguments: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    try:
        return getopt.gnu_getopt(list(arguments), "hv", list(_OPTIONS))
    except getopt.GetoptError as error:
        raise InvalidOption(str(error), hint=_USAGE_HINT) from None


def _options(given: list[tuple[str, str]], words: list[str]) -> ProxyOptions:
    if not 1 <= len(words) <= 3:
        raise InvalidOption(f"proxy takes HOST [PORT] [USER], not {len(words)} words", hint=_USAGE_HINT)
    host, port, user = (*words, None, None)[:3]
    last = dict(given)
    document_name, reason = last.get("--document-name"), last.get("--reason")
    options = ProxyOptions(
        target=host or "",
        port=22 if port is None else parse_port(port),
        os_user=user,
        profile=last.get("--profile"),
        region=last.get("--region"),
        stream_endpoint=last.get("--stream-endpoint"),
        reason=default_reason("proxy") if reason is None else parse_reason(reason),
        document_name=None if document_name is None else parse_document_name(document_name),
        parameters=parse_parameters(value for name, value in given if name == "--parameters"),
        resume_seconds=60.0 * _number(last, "--resume-minutes", RESUME_MINUTES, DEFAULT_RESUME_MINUTES),
        payload_bytes=_number(last, "--payload-size", PAYLOAD_SIZES, 0) or None,
    )
    settings = load_settings()
    return options if settings is None else _completed(options, last, settings)


def _completed(options: ProxyOptions, given: dict[str, str], settings: Settings) -> ProxyOptions:
    """The options, with what the config file says where the words say nothing."""
    from ssm_ssh.session.settings import choose_target  # noqa: PLC0415 -- only paid for where there is a file

    chosen = choose_target(
        settings,
        options.target,
        profile=options.profile,
        region=options.region,
        document_name=options.document_name,
    )
    minutes, payload_bytes = settings.defaults.resume_minutes, settings.defaults.payload_size
    return replace(
        options,
        target=chosen.target,
        profile=chosen.profile,
        region=chosen.region,
        document_name=chosen.document_name,
        resume_seconds=(
            options.resume_seconds if minutes is None or "--resume-minutes" in given else 60.0 * minutes
        ),
        payload_bytes=payload_bytes if options.payload_bytes is None else options.payload_bytes,
    )


def _number(given: dict[str, str], name: str, allowed: range, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) in allowed:
        return int(text)
    raise InvalidOption(
        f"{name} {text!r} cannot be used", hint=f"a whole number from {allowed[0]} to {allowed[-1]}"
    )
