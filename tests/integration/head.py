"""A Ray cluster of its own on this machine, with token authentication: started, killed and started again by tests."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

RAY = Path(sys.executable).parent / "ray"


class Head:
    """One head node in a session of its own; ``environment`` is what a client needs."""

    def __init__(self, folder: Path, *, cpus: int = 2) -> None:
        self.folder, self.cpus = folder, cpus
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        self.port, self.dashboard, *self._others = free_ports(8)
        hidden = {"RAY_ADDRESS", "NIGHTSHIFT_STORAGE"}
        self.environment = {name: value for name, value in os.environ.items() if name not in hidden} | {
            "PATH": f"{RAY.parent}:{os.environ['PATH']}",  # A job is started as `python`.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "CUDA_VISIBLE_DEVICES": "",
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where jobs are submitted to."""
        return f"http://127.0.0.1:{self.dashboard}"

    def start(self) -> None:
        """Start, and wait until jobs are taken."""
        names = (
            "ray-client-server-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
            "runtime-env-agent-port", "metrics-export-port", "node-manager-port",
        )  # fmt: skip
        ports = [f"--{name}={port}" for name, port in zip(names, self._others, strict=True)]
        # A short path: sockets lie in it. Not Ray's own folder: other clusters of this machine are found through that.
        temporary = tempfile.mkdtemp(prefix="ns", dir="/tmp")
        with (self.folder / "head.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(RAY), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={self.port}",
                    f"--dashboard-port={self.dashboard}", "--dashboard-host=127.0.0.1", f"--num-cpus={self.cpus}",
                    "--num-gpus=0", "--object-store-memory=100000000", f"--temp-dir={temporary}",
                    "--disable-usage-stats",
                    *ports,
                ],
                env=self.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + 240
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "head.log").read_text()[-3000:]
            assert time.monotonic() < end, "the head does not answer"
            time.sleep(0.5)

    def answers(self) -> bool:
        """Whether the dashboard takes requests with our token."""
        token = Path(self.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
        request = urllib.request.Request(f"{self.address}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def kill(self) -> None:
        """SIGKILL the head and everything that it started, jobs included."""
        if self.process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(self.process.pid).children(recursive=True)
            for member in [*family, psutil.Process(self.process.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGKILL)
            psutil.wait_procs(family, timeout=20)
        self.process.wait()
        self.process = None


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
