"""The tests: one folder a floor, and the rules that hold for the whole repository beside them."""

from __future__ import annotations
