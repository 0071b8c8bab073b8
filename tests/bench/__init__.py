"""Measurements, run by hand: ``python -m tests.bench`` or one of its modules. Nothing here asserts a speed.

Whatever is compared is run alternately in one process of measurement, so that a busy machine slows all of it
alike; what counts are the ratios within one table.
"""

from __future__ import annotations
