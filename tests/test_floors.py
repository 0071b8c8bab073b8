"""Imports go down only, and foreign libraries come in through their own doors."""

from __future__ import annotations

import pytest

from tests.import_rules import PACKAGE, Module, modules_below, violations


def test_the_package_keeps_its_floors() -> None:
    """Every import of every module obeys the rules."""
    assert violations(modules_below(PACKAGE)) == []


def test_every_module_is_looked_at() -> None:
    """The checker sees the files: a rule over nothing is always kept."""
    names = {module.name for module in modules_below(PACKAGE)}
    assert {"ssm_ssh", "ssm_ssh.__main__", "ssm_ssh.errors", "ssm_ssh.wire", "ssm_ssh.wire.payload"} <= names


BROKEN = {
    "wire looks up": ("ssm_ssh.wire.payload", "from ssm_ssh.protocol.outbox import Outbox", "look up"),
    "protocol looks up": ("ssm_ssh.protocol.mux", "import ssm_ssh.transport.driver", "look up"),
    "transport looks up": ("ssm_ssh.transport.driver", "from ssm_ssh.session import pool", "look up"),
    "a feature looks up": ("ssm_ssh.ssh.proxy", "from ssm_ssh.cli.message import say", "look up"),
    "the ground looks up": ("ssm_ssh.errors", "from ssm_ssh.wire.payload import Flag", "look up"),
    "inside a function": ("ssm_ssh.wire.payload", "def f():\n import ssm_ssh.cli.main", "look up"),
    "for the type checker only": (
        "ssm_ssh.wire.payload",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n from ssm_ssh.session.pool import Pool",
        "look up",
    ),
    "by name": ("ssm_ssh.wire.payload", "importlib.import_module('ssm_ssh.cli.main')", "look up"),
    "a feature imports a feature": ("ssm_ssh.forward.socks", "import ssm_ssh.ssh.proxy", "each other"),
    "the emulator uses the client": (
        "ssm_ssh.emulator.agent",
        "import ssm_ssh.protocol.inbox",
        "shares only",
    ),
    "wire waits": ("ssm_ssh.wire.payload", "import asyncio", "compute"),
    "wire has a socket": ("ssm_ssh.wire.payload", "from socket import socket", "compute"),
    "protocol reads a clock": ("ssm_ssh.protocol.outbox", "from time import monotonic", "compute"),
    "protocol reads a clock at a distance": ("ssm_ssh.protocol.outbox", "import datetime", "compute"),
    "protocol logs": ("ssm_ssh.protocol.outbox", "import logging", "compute"),
    "protocol rolls dice": ("ssm_ssh.protocol.outbox", "import random", "compute"),
    "protocol encrypts in the wrong file": ("ssm_ssh.protocol.mux", "import cryptography.x509", "compute"),
    "a feature calls AWS itself": ("ssm_ssh.ssh.proxy", "from botocore.auth import SigV4Auth", "its doors"),
    "boto3 in the session": ("ssm_ssh.session.target", "import boto3", "its doors"),
    "a second WebSocket door": ("ssm_ssh.transport.driver", "import websockets.client", "its doors"),
    "a room without a floor": ("ssm_ssh.attic.trunk", "", "has no floor"),
}


@pytest.mark.parametrize(("name", "source", "complaint"), BROKEN.values(), ids=BROKEN)
def test_a_violation_is_caught(name: str, source: str, complaint: str) -> None:
    """Each rule fails for a made-up module that breaks it, and says which module."""
    found = violations([Module(name, source)])
    assert len(found) == 1
    assert found[0].startswith(name)
    assert complaint in found[0]


FINE = {
    "down": ("ssm_ssh.protocol.inbox", "from ssm_ssh.wire.agent_message import AgentMessage"),
    "what computes": ("ssm_ssh.wire.smux_frame", "import struct, enum\nfrom dataclasses import dataclass"),
    "the cipher's library": ("ssm_ssh.protocol.cipher", "from cryptography.hazmat.primitives import aead"),
    "the version": (
        "ssm_ssh.transport.control_plane",
        "from ssm_ssh import __version__\nimport botocore.auth",
    ),
    "the emulator and wire": (
        "ssm_ssh.emulator.agent",
        "import ssm_ssh.wire.payload, ssm_ssh.errors, aiohttp",
    ),
    "a door and a feature": ("ssm_ssh.cli.demo", "from ssm_ssh.emulator.service import Service"),
}


@pytest.mark.parametrize(("name", "source"), FINE.values(), ids=FINE)
def test_a_good_import_is_let_through(name: str, source: str) -> None:
    """The rules forbid no more than they say."""
    assert violations([Module(name, source)]) == []


def test_a_ring_is_caught() -> None:
    """Three files of one room that import each other in a ring are reported once, with the way."""
    ring = [
        Module("ssm_ssh.protocol.inbox", "from ssm_ssh.protocol import outbox"),
        Module("ssm_ssh.protocol.outbox", "from ssm_ssh.protocol.event import Event"),
        Module("ssm_ssh.protocol.event", "def f():\n    import ssm_ssh.protocol.inbox"),
    ]
    way = ["event", "inbox", "outbox", "event"]
    assert violations(ring) == ["ring: " + " -> ".join(f"ssm_ssh.protocol.{name}" for name in way)]
