"""Events are plain values."""

from __future__ import annotations

import dataclasses

import pytest

from ssm_ssh.protocol.event import ChannelEnded, DataReceived, Event, FlagReceived, SessionReady


@pytest.mark.parametrize(
    "event",
    [SessionReady("Port", {}, "3.3.987.0", ""), DataReceived(b"x"), FlagReceived(3), ChannelEnded("")],
)
def test_events_are_frozen_and_compare_by_value(event: Event) -> None:
    """Whoever gets one may keep it."""
    assert event == dataclasses.replace(event)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, dataclasses.fields(event)[0].name, "other")
