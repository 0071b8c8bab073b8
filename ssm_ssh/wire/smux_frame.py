"""smux frames, version 1: what a multiplexing port session carries instead of one connection's bytes.

Layout, little-endian (protocol 7.4), unlike everything else on the wire:

    offset  bytes  field
         0      1  version     1; any other value is malformed
         1      1  command     0 SYN, 1 FIN, 2 PSH, 3 NOP; any other value is malformed
         2      2  length      bytes of data that follow
         4      4  stream id   odd for the client's streams, from 3
         8      n  data

Frames may start, end or span anywhere relative to agent messages.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NewType

from ssm_ssh.errors import MalformedMessage

_HEADER = struct.Struct("<BBHI")
assert _HEADER.size == 8

# Specification: the only version an agent speaks; another one stops its reader for good.
VERSION: Final = 1
# Specification: what the agent's library sends at most; receivers accept any length that the field holds.
MAX_FRAME_DATA_BYTES: Final = 32_768

StreamId = NewType("StreamId", int)
"""Names one stream of a mux."""


class Command(IntEnum):
    """What a frame says about its stream."""

    SYN = 0
    FIN = 1
    PSH = 2
    NOP = 3


_COMMANDS: Final = {command.value: command for command in Command}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        data: The stream's next bytes; only PSH frames are sent with any.
    """

    command: Command
    stream_id: StreamId
    data: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """The frame as bytes.

        Raises:
            ValueError: If a field does not fit the layout.
        """
        try:
            header = _HEADER.pack(VERSION, self.command, len(self.data), self.stream_id)
        except struct.error as error:
            raise ValueError(f"no such frame can be sent: {self}") from error
        return header + self.data

    def __str__(self) -> str:
        """A log line: what it is and how much, never what is in it."""
        return f"{self.command.name} {self.stream_id} [{len(self.data)} B]"


class FrameReader:
    """Cuts a byte stream into frames, however it arrives. Holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._unread = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take in the next bytes; returns the frames that they complete.

        Raises:
            MalformedMessage: If this is no smux stream. Nothing else is ever raised, whatever the bytes. The
                frames that came with the fault are lost, and no further one can be had.
        """
        self._unread += data
        frames: list[Frame] = []
        offset = 0
        with memoryview(self._unread) as unread:
            while len(unread) - offset >= _HEADER.size:
                version, command, length, stream_id = _HEADER.unpack_from(unread, offset)
                if version != VERSION:
                    raise MalformedMessage(f"smux frames have version {VERSION}, not {version}", offset=0)
                if command not in _COMMANDS:
                    raise MalformedMessage(f"smux frames have no command {command}", offset=1)
                start = offset + _HEADER.size
                if start + length > len(unread):
                    break
                offset = start + length
                frames.append(Frame(_COMMANDS[command], StreamId(stream_id), bytes(unread[start:offset])))
        del self._unread[:offset]
        return frames
