"""Which agent does what."""

from __future__ import annotations

import pytest

from ssm_ssh.emulator.agent_version import AgentTraits


@pytest.mark.parametrize(
    ("habit", "last_without", "first_with"),
    [
        ("heeds_disconnect", "2.3.707.0", "2.3.714.0"),
        ("heeds_terminate", "2.3.722.0", "2.3.756.0"),
        ("refuses_when_not_ready", "3.0.603.0", "3.0.655.0"),
        ("rests_while_paused", "3.0.655.0", "3.0.732.0"),
        ("drains", "3.0.655.0", "3.0.732.0"),
        ("acknowledges_duplicates", "3.2.985.0", "3.2.1041.0"),
    ],
)
def test_habits_come_with_their_release(habit: str, last_without: str, first_with: str) -> None:
    """Versions are compared as numbers, part by part."""
    assert not getattr(AgentTraits.of(last_without), habit)
    assert getattr(AgentTraits.of(first_with), habit)


@pytest.mark.parametrize("text", ["", "3", "3.3", "3.3.x", "3.3.1.2.3", "v3.3.1", "3.3.1 "])
def test_refuses_what_is_no_version(text: str) -> None:
    """The form is the API's."""
    with pytest.raises(ValueError, match="no agent version"):
        AgentTraits.of(text)
