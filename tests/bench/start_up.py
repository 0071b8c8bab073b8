"""Start-up: exec to the first SSH byte through ``proxy``, beside the aws CLI's exec to its StartSession.

The aws CLI is only measured to the moment at which its request arrives: what it does after that (starting the
plugin, and the plugin's own start, stream and handshake) is a gift to it.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssm_ssh.emulator.timing import REAL
from tests.bench.stage import NOW, set_stage
from tests.bench.table import machine, milliseconds, say, show, timing_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.stage import Stage

_RUNS: Final = 12
_WARM_UP_RUNS: Final = 2
_RUN_SECONDS: Final = 20.0
_FIRST_BYTE: Final = "first SSH byte"
_STEPS: Final = (
    "StartSession arrives",
    "StartSession answered",
    "upgrade arrives",
    "port dialled",
    _FIRST_BYTE,
)
# What Python and botocore cost whoever uses them: the floor under both programs.
_FLOORS: Final = {
    "python": "pass",
    "python, importing botocore's session, signer, HTTP": (
        "import botocore.session, botocore.auth, botocore.httpsession"
    ),
}
# Without the interpreter's clean-up, which nobody who waits for a banner waits for.
_LEAVE: Final = "; import os; os._exit(0)"
# Smaller sources of imports are shown as one.
_SHOWN_MILLISECONDS: Final = 1.0
_PLUGIN: Final = '#!/bin/sh\n[ "$1" = --version ] && echo 1.2.764.0\nexit 0\n'


def main() -> None:
    """Measure and print."""
    say(f"start_up: {_RUNS} runs each, alternating; ms ({machine()})")
    say()
    asyncio.run(_compare("plain http on loopback", has_tls=False))
    asyncio.run(_compare("TLS, the usual hundred authorities to load", has_tls=True))
    _show_imports()


async def _compare(title: str, *, has_tls: bool) -> None:
    async with set_stage(REAL, has_tls=has_tls) as stage:
        aws = _aws_command(stage)
        proxy_runs: list[dict[str, float]] = []
        aws_runs: list[float] = []
        floors: dict[str, list[float]] = {name: [] for name in _FLOORS}
        for _ in range(_WARM_UP_RUNS + _RUNS):
            proxy_runs.append(await _time_proxy(stage))
            if aws is not None:
                aws_runs.append(await _time_aws(stage, aws))
            for name, source in _FLOORS.items():
                floors[name].append(await _time_python(stage, source))
    _report(title, proxy_runs[_WARM_UP_RUNS:], aws_runs[_WARM_UP_RUNS:])
    if not has_tls:
        rows = [[name, *timing_cells(samples[_WARM_UP_RUNS:])] for name, samples in floors.items()]
        show("exec to exit, for comparison", ["program", "median", "fastest"], rows)


def _report(title: str, proxy_runs: Sequence[dict[str, float]], aws_runs: Sequence[float]) -> None:
    rows = []
    before = 0.0
    for step in _STEPS:
        samples = [run[step] for run in proxy_runs]
        median = statistics.median(samples)
        rows.append([f"proxy: exec to {step}", *timing_cells(samples), f"+{milliseconds(median - before)}"])
        before = median
    if aws_runs:
        rows.append(["aws CLI: exec to StartSession arrives", *timing_cells(aws_runs), ""])
        for step in (_STEPS[0], _STEPS[-1]):
            samples = [run[step] for run in proxy_runs]
            ratios = [statistics.median(samples) / statistics.median(aws_runs), min(samples) / min(aws_runs)]
            cells = [f"{ratio:.2f}" for ratio in ratios]
            rows.append([f"{step} : aws CLI's StartSession", *cells, ""])
    show(title, ["step", "median", "fastest", "step"], rows)


async def _time_proxy(stage: Stage) -> dict[str, float]:
    stage.moments.clear()
    started_at = NOW()
    process = await asyncio.create_subprocess_exec(
        *stage.proxy_command(stage.node_id, "22", stage.node.user),
        env=stage.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(_RUN_SECONDS):
        banner = await process.stdout.read(4)
        stage.moments.note(_FIRST_BYTE)
        process.terminate()
        await process.communicate()
    if not banner.startswith(b"SSH-"):
        raise RuntimeError(f"instead of a banner came {banner!r}")
    await stage.end_sessions()
    return {step: at - started_at for step, at in stage.moments.items()}


async def _time_aws(stage: Stage, command: Sequence[str]) -> float:
    stage.moments.clear()
    started_at = NOW()
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**stage.environment, "PATH": f"{stage.folder}:{stage.environment['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    async with asyncio.timeout(_RUN_SECONDS):
        await process.wait()
    await stage.end_sessions()
    return stage.moments["StartSession arrives"] - started_at


async def _time_python(stage: Stage, source: str) -> float:
    started_at = NOW()
    command = [sys.executable, "-c", source + _LEAVE]
    process = await asyncio.create_subprocess_exec(*command, env=stage.environment)
    await process.wait()
    return NOW() - started_at


def _aws_command(stage: Stage) -> list[str] | None:
    """The aws CLI's words, beside a plugin that does nothing; None if there is no aws CLI."""
    beside = Path(sys.executable).with_name("aws")
    program = str(beside) if beside.exists() else shutil.which("aws")
    if program is None:
        say("there is no aws CLI here: only proxy is measured")
        return None
    plugin = stage.folder / "session-manager-plugin"
    plugin.write_text(_PLUGIN, encoding="ascii")
    plugin.chmod(0o755)
    document = ["--document-name", "AWS-StartSSHSession", "--parameters", "portNumber=22"]
    return [program, "ssm", "start-session", "--target", stage.node_id, *document]


def _show_imports() -> None:
    """Who pays how much import time in ``proxy``, before StartSession leaves and while it is answered."""
    source = "import gc; gc.disable(); import ssm_ssh.cli.main, ssm_ssh.cli.proxy, asyncio, ssm_ssh.ssh.carry"
    command = [sys.executable, "-X", "importtime", "-c", source]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    paid = before
    for line in run.stderr.splitlines():
        own, _, rest = line.removeprefix("import time:").partition("|")
        name = rest.partition("|")[2].strip()
        if not own.strip().isdecimal():
            continue
        paid[_origin(name)] += int(own)
        if name == "ssm_ssh.cli.proxy":
            paid = after
    large = [origin for origin, cost in (before + after).most_common() if cost >= 1000 * _SHOWN_MILLISECONDS]
    rows = [_import_row(origin, before[origin], after[origin]) for origin in large]
    others = [sum(cost for origin, cost in paid.items() if origin not in large) for paid in (before, after)]
    rows += [_import_row("others", *others), _import_row("together", before.total(), after.total())]
    show(
        "imports of proxy, ms by -X importtime (which itself slows them)",
        ["from", "before StartSession", "behind it"],
        rows,
    )


def _import_row(origin: str, before: int, after: int) -> list[str]:
    return [origin, milliseconds(before / 1e6), milliseconds(after / 1e6)]


def _origin(name: str) -> str:
    top = name.partition(".")[0]
    return "the standard library" if top in sys.stdlib_module_names else top


if __name__ == "__main__":
    main()
