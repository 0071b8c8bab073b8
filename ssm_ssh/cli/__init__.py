"""The door: one file a command. Parse, call one function, render. No floor below imports any of it."""

from __future__ import annotations
