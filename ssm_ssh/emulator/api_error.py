"""Refusals of the API, with AWS's codes, words and statuses (protocol 1)."""

from __future__ import annotations


class ApiError(Exception):
    """A call was refused.

    Attributes:
        code: AWS's error code; the rooms that speak XML may spell some differently.
        message: AWS's words.
        status: HTTP status of the JSON protocols: 400 for everything but the service's own failures.
    """

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status


def access_denied(caller_arn: str, action: str, resource: str) -> ApiError:
    """The sentence that names who may not do what on what."""
    return ApiError(
        "AccessDeniedException",
        f"User: {caller_arn} is not authorized to perform: {action} on resource: {resource} "
        f"because no identity-based policy allows the {action} action",
    )


def throttled() -> ApiError:
    """Too many calls of one operation."""
    return ApiError("ThrottlingException", "Rate exceeded")


def expired_token() -> ApiError:
    """The credentials were valid once."""
    return ApiError("ExpiredTokenException", "The security token included in the request is expired")


def target_not_connected(target: str) -> ApiError:
    """No agent is connected for the target."""
    return ApiError("TargetNotConnected", f"{target} is not connected.")


def session_not_found(session_id: str) -> ApiError:
    """No such session, or none any more."""
    return ApiError("DoesNotExistException", f"Session with id {session_id} does not exist.")


def validation(*findings: str) -> ApiError:
    """One or more fields break the API's constraints."""
    count = f"{len(findings)} validation error{'s' * (len(findings) > 1)} detected: "
    return ApiError("ValidationException", count + "; ".join(findings))
