"""What a session learns about the way to a region: the largest payload, and the rate that is too much."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.emulator.fault import Faults, Oversize
from tests.features.play import Play, play
from tests.features.proxy_run import together

if TYPE_CHECKING:
    from ssm_ssh.emulator.session_record import MessageCounts
    from tests.features.proxy_run import Outcome

UPLOAD_BYTES: Final = 20_000_000
# Between the second and the third size of the search, header included.
LARGEST_MESSAGE_BYTES: Final = 10_000


def upload(stage: Play, *options: str, count: int = UPLOAD_BYTES) -> MessageCounts:
    """Upload in a session of its own, and tell what passed the gateway."""
    stage.upload(*options, count=count)
    stage.emulator.wait_for_live_sessions(0)
    return stage.session.counts


def _search(oversize: Oversize) -> Outcome:
    # What only vanishes is missed after a while, and believed when it has vanished twice: that takes time.
    rate = 4_000_000 if oversize is Oversize.SWALLOW else None
    faults = Faults(
        largest_message_bytes=LARGEST_MESSAGE_BYTES, oversize=oversize, bandwidth_bytes_per_second=rate
    )
    with play(faults=faults) as stage:
        first = upload(stage)
        assert first.lost >= 1
        assert stage.remembered()["payload_cap_bytes"] == 4096
        second = upload(stage)
        # Not one message above the cap: nothing was probed again.
        assert second.lost == 0
        assert second.client_channels == 1
        assert second.from_client < UPLOAD_BYTES / 1024 / 2
        return stage.download(count=1)


def test_a_largest_message_is_found_and_remembered() -> None:
    """Whether a larger message closes the stream, breaks it or vanishes: the upload arrives whole."""
    for outcome in together({kind: partial(_search, kind) for kind in Oversize}).values():
        assert outcome.stderr == ""


def test_the_payload_grows_while_much_is_to_be_sent() -> None:
    """Without a limit 20 MB need far fewer messages than at 1 KiB, and the next session knows it at once."""
    with play() as stage:
        first = upload(stage)
        assert first.from_client < UPLOAD_BYTES / 1024 / 4
        assert stage.remembered()["payload_bytes"] == 32 * 1024
        stage.download(count=1000)
        assert stage.remembered()["payload_bytes"] == 32 * 1024
        assert upload(stage).from_client < UPLOAD_BYTES / 1024 / 4


def test_little_is_sent_in_small_messages() -> None:
    """A megabyte is not worth a probe: all of it leaves in the size that always passes."""
    with play(faults=Faults(largest_message_bytes=1024 + 200)) as stage:
        assert upload(stage, count=500_000).lost == 0


def test_a_fixed_size_is_kept_and_teaches_nothing() -> None:
    """--payload-size: no probe, and no cap for the sessions to come."""
    with play(faults=Faults(largest_message_bytes=2048 + 200)) as stage:
        counts = upload(stage, "--payload-size", "2048", count=4_000_000)
        assert counts.lost == 0
        assert counts.from_client < 4_000_000 / 2048 * 1.5
    with play() as stage:
        upload(stage, "--payload-size", "2048", count=4_000_000)
        upload(stage)
        assert stage.remembered()["payload_bytes"] == 32 * 1024


def test_a_rate_that_was_too_much_is_not_repeated() -> None:
    """The service tears fast senders down: the transfers survive, and soon stay below that rate."""
    limit = 2_500
    with play(faults=Faults(message_limit_per_second=limit)) as stage:
        first = upload(stage, "--payload-size", "1024", count=4_000_000)
        assert first.cuts >= 1
        assert 800 <= stage.remembered()["messages_per_second"] < 1.25 * limit
        # What had been written when the cut was noticed counts as sent, so the first guess may be high.
        upload(stage, "--payload-size", "1024", count=4_000_000)
        third = upload(stage, "--payload-size", "1024", count=4_000_000)
        assert third.cuts == 0
        assert third.client_channels == 1


def test_a_cache_that_cannot_be_read_is_no_failure() -> None:
    """Garbage, foreign types, impossible numbers, a folder in its place: as if nothing were known."""
    rubbish: list[Any] = [b"", b"\xff\x00", b"[]", b"{}", b"[" * 4000]
    rubbish.append(json.dumps({"saved_at": 1e12, "payload_bytes": -1, "payload_cap_bytes": {}}).encode())
    with play() as stage:
        upload(stage)
        (file,) = stage.cache.rglob("*.json")
        for content in rubbish:
            file.write_bytes(content)
            assert stage.upload(count=100_000).stderr == ""
        file.unlink()
        file.mkdir()
        assert stage.upload(count=2_000_000).stderr == ""
