"""What ``import ssm_ssh`` offers is a promise: a change of it is a decision, made here too."""

from __future__ import annotations

import inspect
import pkgutil

import ssm_ssh

PUBLIC_NAMES: frozenset[str] = frozenset({"__version__", "open_tunnel"})


def test_the_root_offers_exactly_these_names() -> None:
    """Nothing is offered by accident and nothing has gone."""
    rooms = {module.name for module in pkgutil.iter_modules(ssm_ssh.__path__)}
    names = {name for name in dir(ssm_ssh) if name.isidentifier() and not name.startswith("_")}
    offered = names - rooms - {"annotations"}
    assert offered | {"__version__"} == PUBLIC_NAMES


def test_every_public_name_can_be_used() -> None:
    """Each name resolves, and what is a class or a function says what it is for."""
    for name in PUBLIC_NAMES:
        value = getattr(ssm_ssh, name)
        if callable(value):
            assert inspect.getdoc(value), name
