"""One call: signed, sent, tried again within bounds, refused in words that help."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.httpsession import get_cert_path

from ssm_ssh.errors import (
    AccessDenied,
    ControlPlaneError,
    CredentialsExpired,
    EndpointUnreachable,
    RemoteProtocolError,
    Throttled,
)
from ssm_ssh.transport.aws_session import open_session
from ssm_ssh.transport.credentials import Credentials
from ssm_ssh.transport.json_api import MAX_ATTEMPTS, THROTTLED_ATTEMPTS, JsonApi, JsonService
from tests.transport.peers import Answer, Authority, ConnectProxy, Service, run

if TYPE_CHECKING:
    from pathlib import Path

EXPIRED = Answer({"__type": "ExpiredTokenException", "message": "The security token is expired"}, 400)
FINE = Answer({"Status": "connected"})


def api(url: str, *, bundle: str | None = None, profile: str | None = None) -> JsonApi:
    """An API at ``url`` whose back-off takes no time."""
    session = open_session(profile=profile)
    credentials = Credentials(session, profile=profile, region="eu-central-1")
    service = JsonService(url, "ssm", "AmazonSSM", "eu-central-1")
    made = JsonApi(
        service, credentials, user_agent="ssm-ssh/test", ca_bundle=bundle or get_cert_path(verify=True)
    )
    made._backoff._random = lambda: 0.0
    return made


async def call(made: JsonApi, body: dict[str, object] | None = None) -> dict[str, Any]:
    """One call in a thread, as the session floor makes it."""
    try:
        return await asyncio.to_thread(made.call, "GetConnectionStatus", body or {"Target": "i-0"})
    finally:
        made.close()


def calling(*answers: Answer) -> tuple[dict[str, Any], Service]:
    """Call a service that gives these answers, the last one again and again."""
    service = Service()
    service.answers = list(answers)

    async def scenario() -> dict[str, Any]:
        async with service.serving():
            return await call(api(f"http://127.0.0.1:{service.port}"))

    return run(scenario()), service


def refused_by(*answers: Answer) -> tuple[ControlPlaneError | RemoteProtocolError, Service]:
    """Like ``calling``, for answers that are refusals."""
    service = Service()
    service.answers = list(answers)

    async def scenario() -> ControlPlaneError | RemoteProtocolError:
        async with service.serving():
            try:
                await call(api(f"http://127.0.0.1:{service.port}"))
            except (ControlPlaneError, RemoteProtocolError) as error:
                return error
            pytest.fail("it was not refused")

    return run(scenario()), service


@pytest.mark.usefixtures("aws_home")
def test_what_is_on_the_wire() -> None:
    """Protocol 1: POST of JSON 1.1 with the operation in a header, signed for ssm."""
    answer, service = calling(FINE)
    assert answer == {"Status": "connected"}
    (request,) = service.requests
    assert request.path == "/"
    assert json.loads(request.body) == {"Target": "i-0"}
    assert request.headers["Content-Type"] == "application/x-amz-json-1.1"
    assert request.headers["X-Amz-Target"] == "AmazonSSM.GetConnectionStatus"
    assert request.headers["User-Agent"] == "ssm-ssh/test"
    authorization = request.headers["Authorization"]
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-central-1/ssm/aws4_request, SignedHeaders=content-type;host;x-amz-date" in authorization


@pytest.mark.usefixtures("aws_home")
def test_a_refusal_is_told_and_not_repeated() -> None:
    """What AWS will say again is not asked again."""
    error, service = refused_by(
        Answer({"__type": "x#AccessDeniedException", "Message": "no"}, 400, {"x-amzn-RequestId": "r-7"})
    )
    assert isinstance(error, AccessDenied)
    assert error.request_id == "r-7"
    assert len(service.requests) == 1


@pytest.mark.usefixtures("aws_home")
def test_throttling_is_waited_out() -> None:
    """A busy service gets the call again."""
    busy = Answer({"__type": "ThrottlingException", "message": "Rate exceeded"}, 400)
    answer, service = calling(busy, busy, FINE)
    assert answer == {"Status": "connected"}
    assert len(service.requests) == 3
    error, service = refused_by(busy)
    assert isinstance(error, Throttled)
    assert len(service.requests) == THROTTLED_ATTEMPTS


@pytest.mark.usefixtures("aws_home")
@pytest.mark.parametrize("status", [429, 500, 503])
def test_trouble_at_the_service_is_waited_out(status: int) -> None:
    """So does a failing one, whatever words it finds."""
    answer, service = calling(Answer("", status), FINE)
    assert answer == {"Status": "connected"}
    assert len(service.requests) == 2
    error, service = refused_by(Answer({"__type": "InternalServerError", "Message": "sorry"}, status))
    assert isinstance(error, ControlPlaneError)
    assert error.code == "InternalServerError"
    assert len(service.requests) == MAX_ATTEMPTS


@pytest.mark.usefixtures("aws_home")
def test_back_off_grows_more_for_throttling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The formula is botocore's: a second doubled for throttling, much less for the rest, five at most."""
    made = api("http://127.0.0.1:9")
    made._backoff._random = lambda: 1.0
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return False

    monkeypatch.setattr(made._closed, "wait", wait)
    for attempt in (1, 2, 3, 9):
        made._wait(attempt, "ThrottlingException", None)
    made._wait(1, "", None)
    made.close()
    assert waits[:4] == [1, 2, 4, 5]
    assert waits[4] <= 1


@pytest.mark.usefixtures("aws_home")
def test_closing_cuts_the_back_off_short() -> None:
    """Nobody waits for a retry after the end."""
    made = api("http://127.0.0.1:9")
    made._backoff._random = lambda: 1.0
    made.close()
    made._wait(9, "ThrottlingException", None)
    made.close()


@pytest.mark.usefixtures("aws_home")
@pytest.mark.parametrize("body", ["<html>welcome to the hotel</html>", "[]", '"x"', ""])
def test_what_is_no_answer_of_aws(body: str) -> None:
    """A login page that says 200 is not AWS."""
    error, _ = refused_by(Answer(body))
    assert isinstance(error, RemoteProtocolError)
    assert "AWS" in str(error.hint)


@pytest.mark.usefixtures("aws_home")
def test_an_error_without_a_code() -> None:
    """A firewall's 403 is told with its status."""
    error, _ = refused_by(Answer("<html>blocked</html>", 403))
    assert "HTTP 403" in str(error)
    assert "proxy" in str(error.hint)


@pytest.mark.usefixtures("aws_home")
def test_the_code_may_be_in_a_header() -> None:
    """Some front ends say it there."""
    error, _ = refused_by(Answer("", 400, {"x-amzn-ErrorType": "AccessDeniedException:http://x/"}))
    assert isinstance(error, AccessDenied)


@pytest.mark.usefixtures("aws_home")
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_errors(status: int) -> None:
    """A signed call goes where it was meant to, or nowhere."""
    error, service = refused_by(Answer("", status, {"Location": "/elsewhere"}))
    assert isinstance(error, RemoteProtocolError)
    assert "redirect" in str(error)
    assert len(service.requests) == 1


def test_expired_keys_are_read_again(without_keys: Path) -> None:
    """Another program may have renewed them meanwhile: one look, one more try."""
    keys = without_keys / ".aws" / "credentials"
    keys.write_text("[default]\naws_access_key_id = OLD\naws_secret_access_key = x\naws_session_token = a\n")
    service = Service()
    service.answers = [EXPIRED, FINE]

    async def scenario() -> None:
        async with service.serving():
            made = api(f"http://127.0.0.1:{service.port}")
            made._credentials.current("first, as at the start of a session")
            keys.write_text(keys.read_text().replace("OLD", "NEW"))
            assert await call(made) == {"Status": "connected"}

    run(scenario())
    assert ["OLD" in service.requests[0].headers["Authorization"]] == [True]
    assert ["NEW" in service.requests[1].headers["Authorization"]] == [True]


@pytest.mark.usefixtures("aws_home")
def test_keys_that_stay_expired() -> None:
    """The same keys are not tried twice."""
    error, service = refused_by(EXPIRED)
    assert isinstance(error, CredentialsExpired)
    assert len(service.requests) == 1


@pytest.mark.usefixtures("aws_home")
def test_nobody_there() -> None:
    """A refused connection ends in bounded time, after tries."""

    async def scenario() -> EndpointUnreachable:
        with pytest.raises(EndpointUnreachable) as caught:
            await call(api("http://127.0.0.1:9"))
        return caught.value

    error = run(scenario())
    assert "127.0.0.1" in str(error)
    assert "Connection refused" in str(error)


@pytest.mark.usefixtures("aws_home")
def test_a_name_that_does_not_resolve() -> None:
    """A misspelt region is a name nobody knows."""

    async def scenario() -> EndpointUnreachable:
        with pytest.raises(EndpointUnreachable) as caught:
            await call(api("https://ssm.eu-centrale-1.invalid"))
        return caught.value

    assert "region" in str(run(scenario()).hint)


def test_a_private_authority_behind_a_proxy(aws_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CONNECT with a login, TLS by a private CA, the real name: botocore's own way through."""
    authority, service, name = Authority(aws_home), Service(), "ssm-fips.us-east-1.amazonaws.com"
    service.answers = [FINE]

    async def scenario() -> list[str]:
        async with (
            service.serving(authority.server_context(name)),
            ConnectProxy(service.port, login="user name:p@ss").serving() as proxy,
        ):
            monkeypatch.setenv("HTTPS_PROXY", f"http://user%20name:p%40ss@127.0.0.1:{proxy.port}")
            assert await call(api(f"https://{name}", bundle=str(authority.bundle))) == {"Status": "connected"}
            with pytest.raises(EndpointUnreachable) as caught:
                await call(api(f"https://{name}"))
            assert "AWS_CA_BUNDLE" in str(caught.value.hint)
            monkeypatch.setenv("HTTPS_PROXY", f"http://wrong:secret@127.0.0.1:{proxy.port}")
            with pytest.raises(EndpointUnreachable) as caught:
                await call(api(f"https://{name}"))
            assert "USER:PASSWORD" in str(caught.value.hint)
            assert "secret" not in str(caught.value)
            return proxy.asked_for

    assert set(run(scenario())) == {f"{name}:443"}


@pytest.mark.usefixtures("aws_home")
def test_no_proxy_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What NO_PROXY names is reached directly."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    calling(FINE)


@pytest.mark.usefixtures("aws_home")
def test_nothing_secret_in_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that a user pastes into a ticket holds no key."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKEN-SECRET")
    error, service = refused_by(EXPIRED)
    assert service.requests[0].headers["X-Amz-Security-Token"] == "TOKEN-SECRET"
    shown = f"{error} {error!r} {error.__cause__!r} {error.hint}"
    assert "SECRET" not in shown
    assert "wJalr" not in shown
