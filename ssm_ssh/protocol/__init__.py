"""Floor 2: the client's end of a data channel as state machines.

Time is an argument, needs are events; nothing here reads a clock, waits, logs or touches a network.
"""

from __future__ import annotations
