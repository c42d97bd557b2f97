"""A scheduler and workers over TLS on loopback, to sweep on and to kill."""

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import yaml


class Cluster:
    """A scheduler, and workers with a home each. `config`: how a sweep reaches it by Dask."""

    def __init__(self, folder: Path):
        from distributed import Security

        self.folder, self.config = folder, folder / "dask.yaml"
        self._security = Security.temporary()  # a certificate that signed itself
        pair = {"cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
        Path(pair["cert"]).write_text(self._security.tls_ca_file)
        Path(pair["key"]).write_text(self._security.tls_client_key)
        tls = {"ca-file": pair["cert"], "scheduler": pair, "worker": pair, "client": pair}
        self.config.write_text(
            yaml.safe_dump({"distributed": {"comm": {"require-encryption": True, "tls": tls}}})
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tls://127.0.0.1:{port}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._start("scheduler", "--host", "127.0.0.1", "--protocol", "tls", "--port", str(port))

    def _start(self, name: str, *words: str, **more: str) -> None:
        home = self.folder / f"home-{name}"
        home.mkdir(exist_ok=True)
        program = "scheduler"
        if name != "scheduler":
            program, words = (
                "worker",
                (self.address, "--nthreads", "1", "--memory-limit", "0", "--name", name),
            )
            words += ("--local-directory", str(home))
        variables = {"TRAIN_CHECKPOINTS": "", "HOME": str(home), "DASK_CONFIG": str(self.config)}
        variables |= more
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{program}", *words, "--no-dashboard"],
                cwd=home, env=os.environ | variables, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def start_workers(self, *names: str, **variables: str) -> None:
        """Start workers with some environment variables, and wait until they have come."""
        from distributed import Client

        with Client(self.address, security=self._security, timeout=60) as client:
            number = len(client.scheduler_info()["workers"]) + len(names)
            for name in names:
                self._start(name, **variables)
            client.wait_for_workers(number, timeout=120)

    def kill(self, name: str, whom: str) -> None:
        """Kill the process "worker", which runs experiments, its parent "nanny", or "both"."""
        nanny = self._processes[name]
        with suppress(psutil.NoSuchProcess):  # the worker dies just now
            children = psutil.Process(nanny.pid).children()
            workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
            for victim in [nanny] * (whom != "worker") + workers * (whom != "nanny"):
                victim.kill()
        if whom != "worker":  # which the nanny starts again
            nanny.kill()
            nanny.wait()
            self._start(name)

    def stop(self, *names: str) -> None:
        """Stop the scheduler or some workers, or all."""
        for name in names or self._processes:
            self._processes[name].kill()  # a worker ends with its nanny
            self._processes[name].wait()
