"""StartSession on its way, while the caller imports what the session will need.

Nothing here imports asyncio: on the way to a first byte the request has to leave before that is paid for.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssm_ssh.session.document import SessionRequest
    from ssm_ssh.transport.control_plane import ControlPlane, StartedSession


def begin_session(control_plane: ControlPlane, request: SessionRequest) -> Future[StartedSession]:
    """Call StartSession in a thread of its own; the future holds its answer or its error.

    Whoever drops the future must see to the session's end, whenever the answer comes. It cannot be cancelled:
    the request is on its way.
    """
    future: Future[StartedSession] = Future()
    future.set_running_or_notify_cancel()

    def call() -> None:
        try:
            started = control_plane.start_session(
                target=request.target,
                document_name=request.document_name,
                parameters=request.parameters,
                reason=request.reason,
            )
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(started)

    threading.Thread(target=call, name="ssm-ssh StartSession").start()
    return future
