"""The fixture that other projects use, and what it costs those who do not."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import boto3

if TYPE_CHECKING:
    from pathlib import Path

    from ssm_ssh.emulator.start import RunningEmulator


def test_the_fixture_leads_stock_boto3_to_a_node(ssm_emulator: RunningEmulator) -> None:
    """No argument and no patch: the variables are enough."""
    ssm = boto3.client("ssm")
    (node,) = ssm.describe_instance_information()["InstanceInformationList"]
    assert node["PingStatus"] == "Online"
    session_id = ssm.start_session(Target=node["InstanceId"], DocumentName="AWS-StartSSHSession")["SessionId"]
    assert [record.session_id for record in ssm_emulator.live_sessions()] == [session_id]
    ssm.terminate_session(SessionId=session_id)
    ssm_emulator.wait_for_live_sessions(0)
    ssm.close()


def test_the_entry_point_is_light() -> None:
    """Loading it brings neither the server nor the emulator nor botocore."""
    program = (
        "import sys, pytest; import ssm_ssh.emulator.pytest_plugin\n"
        "heavy = {'aiohttp', 'botocore', 'asyncssh', 'asyncio', 'ssm_ssh.emulator.start'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert result.stdout == "[]\n"


def test_options_can_be_overridden(tmp_path: Path) -> None:
    """Another project asks for other nodes by overriding one fixture."""
    (tmp_path / "test_theirs.py").write_text(
        "import os, pytest\n"
        "@pytest.fixture\n"
        "def ssm_emulator_options():\n"
        "    return {'nodes': ['a', 'b']}\n"
        "def test_two_nodes(ssm_emulator):\n"
        "    assert [node.name for node in ssm_emulator.nodes] == ['a', 'b']\n"
        "    assert os.environ['AWS_ENDPOINT_URL'] == ssm_emulator.url\n"
    )
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "ssm_ssh.emulator.pytest_plugin", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout + result.stderr
