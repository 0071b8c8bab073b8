"""Pages of a list, with tokens that say where the next one starts."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, TypeVar

from ssm_ssh.emulator.api_error import ApiError

if TYPE_CHECKING:
    from collections.abc import Sequence

_T = TypeVar("_T")


def page(
    entries: Sequence[_T], size: int, token: str | None, *, code: str
) -> tuple[Sequence[_T], str | None]:
    """The entries of one page and the token of the next, None on the last.

    Args:
        entries: All entries, in an order that does not change.
        size: Entries on a page.
        token: What the page before gave.
        code: The service's code for a token that is none.

    Raises:
        ApiError: With that code.
    """
    start = 0
    if token is not None:
        try:
            start = int(base64.b64decode(token, validate=True))
        except (binascii.Error, ValueError):
            raise ApiError(code, "The specified token is not valid.") from None
    end = start + size
    following = base64.b64encode(str(end).encode()).decode("ascii") if end < len(entries) else None
    return entries[start:end], following
