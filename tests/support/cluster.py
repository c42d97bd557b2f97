"""A scheduler and workers over TLS on loopback, to sweep on and to kill."""

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import yaml


@cache
def dask_config() -> Path:
    """Write a certificate that signed itself, its key, and a configuration of Dask that names them; return the last."""
    from distributed import Security

    security = Security.temporary()
    folder = Path(tempfile.mkdtemp(prefix="tls-"))
    atexit.register(shutil.rmtree, folder)
    cert, key, config = folder / "cert.pem", folder / "key.pem", folder / "dask.yaml"
    cert.write_text(security.tls_ca_file)
    key.write_text(security.tls_client_key)
    pair = {"cert": str(cert), "key": str(key)}
    tls = {"ca-file": str(cert), "scheduler": pair, "worker": pair, "client": pair}
    config.write_text(yaml.safe_dump({"distributed": {"comm": {"require-encryption": True, "tls": tls}}}))
    return config


class Cluster:
    """A scheduler, and workers that each have a home of their own, as if on a machine of their own.

    Attributes:
        address: the scheduler's.
        config: the configuration of Dask with which a sweep reaches it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = dask_config()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tls://127.0.0.1:{port}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._workers: set[str] = set()
        words = ["--host", "127.0.0.1", "--protocol", "tls", "--port", str(port)]
        self._start("scheduler", "scheduler", *words)

    def _start(self, name: str, program: str, *words: str, home: str = "") -> None:
        variables = {"TRAIN_CHECKPOINTS": "", "GIT_CONFIG_GLOBAL": os.devnull, "HOME": home or str(self.folder)}
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{program}", *words, "--no-dashboard"],
                cwd=self.folder, env=os.environ | variables | {"DASK_CONFIG": str(self.config)}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def start_worker(self, name: str) -> None:
        self._workers.add(name)
        home = self.folder / f"home-{name}"
        home.mkdir(exist_ok=True)
        words = ["--nthreads", "1", "--memory-limit", "0", "--name", name, "--local-directory", str(home)]
        self._start(name, "worker", self.address, *words, home=str(home))

    def ask(self, function: Any, *arguments: Any) -> dict[str, Any]:
        """Call a function on each worker, once there are all; return what it returned by the workers' names."""
        from distributed import Client, Security

        tls = yaml.safe_load(self.config.read_text())["distributed"]["comm"]["tls"]
        ca, cert, key = tls["ca-file"], *tls["client"].values()
        security = Security(tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key, require_encryption=True)
        with Client(self.address, security=security, timeout=60) as client:
            client.wait_for_workers(len(self._workers), timeout=120)
            names = {address: one["name"] for address, one in client.scheduler_info(n_workers=-1)["workers"].items()}
            return {names[address]: answer for address, answer in client.run(function, *arguments).items()}

    def kill(self, name: str, whom: str, again: bool = True) -> int:
        """Kill a worker, its nanny or both; return how many processes. Start a new nanny where it is gone."""
        worker = self._worker(name)
        victims: list[Any] = [self._processes[name]] if whom != "worker" else []
        victims += [worker] if whom != "nanny" and worker else []
        for victim in victims:
            victim.kill()
        if whom != "worker" and again:
            self._processes[name].wait()
            self.start_worker(name)
        return len(victims)

    def owns(self, name: str, clone: Path) -> bool:
        """Say whether this worker's process made this folder for a clone."""
        worker = self._worker(name)
        return worker is not None and clone.name.split("-")[0] == str(worker.pid)

    def _worker(self, name: str) -> psutil.Process | None:
        """Return the process that runs experiments, a child of the nanny."""
        try:
            children = psutil.Process(self._processes[name].pid).children()
            return next((child for child in children if "spawn_main" in " ".join(child.cmdline())), None)
        except psutil.NoSuchProcess:
            return None

    def stop(self, *names: str) -> None:
        """Stop the scheduler or some workers, or all."""
        for name in names or self._processes:
            self._processes[name].kill()  # a worker ends with its nanny
            self._processes[name].wait()
            self._workers.discard(name)
