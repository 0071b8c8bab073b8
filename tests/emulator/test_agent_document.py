"""Filling in documents."""

from __future__ import annotations

from ssm_ssh.emulator.document import resolve


def test_replaces_names_in_any_depth() -> None:
    """Unknown names stay, other values stay; a value is not looked at again."""
    properties = {"port": "{{ port }}", "list": ["a{{port}}b", {"x": "{{  port}}"}], "n": 1, "y": "{{ who }}"}
    assert resolve(properties, {"port": "{{ who }}"}) == {
        "port": "{{ who }}",
        "list": ["a{{ who }}b", {"x": "{{ who }}"}],
        "n": 1,
        "y": "{{ who }}",
    }
