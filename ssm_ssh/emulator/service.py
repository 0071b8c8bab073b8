"""Systems Manager's part of the API, as far as sessions need it (protocol 1)."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.emulator.api_error import ApiError, access_denied
from ssm_ssh.emulator.api_room import JsonRoom
from ssm_ssh.emulator.constraint import Number, Text, check
from ssm_ssh.emulator.node_filter import select_nodes
from ssm_ssh.emulator.node_table import platform_name, private_dns
from ssm_ssh.emulator.paging import page
from ssm_ssh.emulator.session_document import DEFAULT_DOCUMENT
from ssm_ssh.emulator.session_filter import select_sessions
from ssm_ssh.emulator.settings import EndedResume

if TYPE_CHECKING:
    from ssm_ssh.emulator.api_room import Call
    from ssm_ssh.emulator.database import ResourceTable
    from ssm_ssh.emulator.fault import FaultSwitch
    from ssm_ssh.emulator.link import EmulatedNode
    from ssm_ssh.emulator.live_session import LiveSession
    from ssm_ssh.emulator.node_table import NodeTable
    from ssm_ssh.emulator.session_document import DocumentTable
    from ssm_ssh.emulator.session_record import SessionRecord
    from ssm_ssh.emulator.session_table import SessionTable
    from ssm_ssh.emulator.settings import ServiceSettings

_TARGET: Final = Text(is_required=True, shortest=1, longest=400)
_SESSION_ID: Final = Text(is_required=True, shortest=1, longest=96)
_DOCUMENT_NAME: Final = r"[a-zA-Z0-9_\-.:/]{3,128}"
# Specification: seen in stream URLs is base64 with all of its characters, which is what trips signers.
_CELL_NUMBER_BYTES: Final = 31
_DEFAULT_NODES: Final = 10
_DEFAULT_SESSIONS: Final = 200


@dataclass(frozen=True, slots=True)
class Account:
    """What the rooms of the API work on."""

    settings: ServiceSettings
    faults: FaultSwitch
    nodes: NodeTable
    documents: DocumentTable
    sessions: SessionTable
    resources: ResourceTable

    def allow(self, action: str, resource: str) -> None:
        """Raise ``AccessDeniedException`` if the faults deny the action."""
        if action in self.faults.now.denied_actions:
            raise access_denied(self.settings.caller_arn, action, resource)

    def node_arn(self, node_id: str) -> str:
        """The ARN that policies name a node by."""
        if node_id.startswith("i-"):
            return self.settings.arn("ec2", f"instance/{node_id}")
        return self.settings.arn("ssm", f"managed-instance/{node_id}")

    def session_arn(self, session_id: str) -> str:
        """The ARN that policies name a session by."""
        return self.settings.arn("ssm", f"session/{session_id}")


def ssm_room(account: Account) -> JsonRoom:
    """The room of ``AmazonSSM``."""
    service = _SessionService(account)
    return JsonRoom(
        signing_name="ssm",
        target_prefix="AmazonSSM",
        operations={
            "StartSession": service.start_session,
            "ResumeSession": service.resume_session,
            "TerminateSession": service.terminate_session,
            "DescribeSessions": service.describe_sessions,
            "GetConnectionStatus": service.get_connection_status,
            "DescribeInstanceInformation": service.describe_instance_information,
            "GetDocument": service.get_document,
        },
    )


class _SessionService:
    """The operations; each takes a call and returns the answer's members."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def start_session(self, call: Call) -> dict[str, Any]:
        parameters = call.parameters
        rules = {
            "Target": _TARGET,
            "DocumentName": Text(pattern=_DOCUMENT_NAME),
            "Reason": Text(shortest=1, longest=256, pattern=".{1,256}"),
        }
        check(parameters, rules)
        account = self._account
        name = parameters.get("DocumentName") or DEFAULT_DOCUMENT
        account.allow("ssm:StartSession", account.node_arn(parameters["Target"]))
        document = account.documents.find(name)
        node = account.nodes.connected(parameters["Target"])
        session = account.sessions.start(
            node,
            document,
            _parameter_values(parameters.get("Parameters")),
            reason=parameters.get("Reason"),
            user_agent=call.user_agent,
        )
        return self._stream(session, call)

    def resume_session(self, call: Call) -> dict[str, Any]:
        session_id = self._session_id(call, "ssm:ResumeSession")
        session = self._account.sessions.find(session_id)
        if session is not None:
            return self._stream(session, call)
        if self._account.settings.ended_resume is EndedResume.DOES_NOT_EXIST:
            raise ApiError("DoesNotExistException", f"Session with id {session_id} does not exist.")
        return {"SessionId": session_id, "TokenValue": "", "StreamUrl": self._stream_url(session_id, call)}

    def terminate_session(self, call: Call) -> dict[str, Any]:
        session_id = self._session_id(call, "ssm:TerminateSession")
        self._account.sessions.terminate(session_id)
        return {"SessionId": session_id}

    def describe_sessions(self, call: Call) -> dict[str, Any]:
        check(
            call.parameters,
            {
                "State": Text(is_required=True, choices=("Active", "History")),
                "MaxResults": Number(1, 200),
            },
        )
        account = self._account
        account.allow("ssm:DescribeSessions", account.settings.arn("ssm", "*"))
        selected = select_sessions(account.sessions.records, call.parameters)
        entries, token = page(
            selected,
            call.parameters.get("MaxResults", _DEFAULT_SESSIONS),
            call.parameters.get("NextToken"),
            code="InvalidNextToken",
        )
        return _with_token({"Sessions": [_session_entry(record) for record in entries]}, token)

    def get_connection_status(self, call: Call) -> dict[str, Any]:
        check(call.parameters, {"Target": _TARGET})
        target = call.parameters["Target"]
        self._account.allow("ssm:GetConnectionStatus", self._account.node_arn(target))
        node = self._account.nodes.get(target)
        is_connected = node is not None and node.is_online
        return {"Target": target, "Status": "connected" if is_connected else "notconnected"}

    def describe_instance_information(self, call: Call) -> dict[str, Any]:
        check(call.parameters, {"MaxResults": Number(5, 50)})
        account = self._account
        account.allow("ssm:DescribeInstanceInformation", account.settings.arn("ssm", "*"))
        entries, token = page(
            select_nodes(account.nodes, call.parameters),
            call.parameters.get("MaxResults", _DEFAULT_NODES),
            call.parameters.get("NextToken"),
            code="InvalidNextToken",
        )
        return _with_token({"InstanceInformationList": [self._node_entry(node) for node in entries]}, token)

    def get_document(self, call: Call) -> dict[str, Any]:
        choices = ("JSON", "YAML", "TEXT")
        check(
            call.parameters,
            {
                "Name": Text(is_required=True, pattern=_DOCUMENT_NAME),
                "DocumentFormat": Text(choices=choices),
            },
        )
        account = self._account
        name = call.parameters["Name"]
        account.allow("ssm:GetDocument", account.settings.arn("ssm", f"document/{name}"))
        document = account.documents.find(name)
        version = call.parameters.get("DocumentVersion", "$DEFAULT")
        if version not in {"1", "$DEFAULT", "$LATEST"}:
            raise ApiError("InvalidDocumentVersion", f"Document {name} has no version {version}.")
        return {
            "Name": document.name,
            "DocumentVersion": "1",
            "Status": "Active",
            # Every JSON text is a YAML text too.
            "Content": document.content(),
            "DocumentType": "Session",
            "DocumentFormat": call.parameters.get("DocumentFormat", "JSON"),
        }

    def _session_id(self, call: Call, action: str) -> str:
        check(call.parameters, {"SessionId": _SESSION_ID})
        session_id = str(call.parameters["SessionId"])
        self._account.allow(action, self._account.session_arn(session_id))
        return session_id

    def _stream(self, session: LiveSession, call: Call) -> dict[str, Any]:
        session_id = session.record.session_id
        answer = {
            "SessionId": session_id,
            "TokenValue": session.token.renew(),
            "StreamUrl": self._stream_url(session_id, call),
        }
        if self._account.faults.now.omits_token:
            del answer["TokenValue"]
        return answer

    def _stream_url(self, session_id: str, call: Call) -> str:
        override = self._account.faults.now.stream_url
        if override is not None:
            return override.format(session_id=session_id)
        scheme = "wss" if call.is_secure else "ws"
        host = stream_host(call.host, self._account.settings.server_host_names)
        # Verbatim, not escaped: real URLs carry "+", "/" and "=" like this (protocol 2.1).
        cell_number = _cell_number()
        path = f"/v1/data-channel/{session_id}"
        return f"{scheme}://{host}{path}?role=publish_subscribe&cell-number={cell_number}"

    def _node_entry(self, node: EmulatedNode) -> dict[str, Any]:
        started = self._account.nodes.started_at.timestamp()
        name, version = platform_name(node)
        is_ec2 = node.node_id.startswith("i-")
        return {
            "InstanceId": node.node_id,
            "PingStatus": "Online" if node.is_online else "ConnectionLost",
            "LastPingDateTime": started,
            "AgentVersion": node.agent_version,
            "IsLatestVersion": False,
            "PlatformType": node.platform,
            "PlatformName": name,
            "PlatformVersion": version,
            "ResourceType": "EC2Instance" if is_ec2 else "ManagedInstance",
            "IPAddress": node.ip_address,
            "ComputerName": private_dns(node, self._account.settings.region),
            # Of hybrid nodes only, as in AWS; an EC2 instance's name is a tag.
            **({} if is_ec2 else {"Name": node.name, "RegistrationDate": started}),
        }


def stream_host(host: str, server_host_names: frozenset[str]) -> str:
    """The gateway's host name beside the API's: ``ssmmessages…`` for ``ssm…``, else the same."""
    name, _, _ = host.partition(":")
    gateway = f"ssmmessages{name.removeprefix('ssm')}"
    return gateway if name.startswith("ssm") and gateway in server_host_names else host


def _cell_number() -> str:
    """A fresh one with each of ``+``, ``/`` and ``=`` in it."""
    text = base64.b64encode(secrets.token_bytes(_CELL_NUMBER_BYTES)).decode("ascii")
    return f"{text[:8]}+/{text[8:]}"


def _parameter_values(given: object) -> dict[str, list[str]]:
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(
        isinstance(values, list) and all(isinstance(value, str) for value in values)
        for values in given.values()
    ):
        raise ApiError("SerializationException", "Parameters is no map of lists of strings")
    return given


def _with_token(answer: dict[str, Any], token: str | None) -> dict[str, Any]:
    return answer if token is None else {**answer, "NextToken": token}


def _session_entry(record: SessionRecord) -> dict[str, Any]:
    entry = {
        "SessionId": record.session_id,
        "Target": record.target,
        "Status": str(record.status),
        "StartDate": record.start.timestamp(),
        "DocumentName": record.document_name,
        "Owner": record.owner,
        "OutputUrl": {},
        "AccessType": "Standard",
    }
    if record.end is not None:
        entry["EndDate"] = record.end.timestamp()
    if record.reason is not None:
        entry["Reason"] = record.reason
    if record.output:
        entry["Details"] = record.output[:1024]
    return entry
