"""A scheduler and workers over TLS on loopback, to sweep on and to kill."""

import datetime
import ipaddress
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil


def certificates(folder: Path) -> list[str]:
    """Write an authority's certificate, and one with its key that it signed for this machine; return the paths."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def name(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])

    keys = {who: ec.generate_private_key(ec.SECP256R1()) for who in ("authority", "machine")}
    now = datetime.datetime.now(datetime.UTC)
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = {}
    for who, key in keys.items():
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(who))
            .issuer_name(name("authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=who == "authority", path_length=None), critical=True)
            .add_extension(loopback, critical=False)
        )
        made[who] = builder.sign(keys["authority"], hashes.SHA256())
    folder.mkdir()
    paths = [folder / file for file in ("ca.pem", "machine.pem", "machine.key")]
    for path, certificate in zip(paths, made.values(), strict=False):
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[2].write_bytes(keys["machine"].private_bytes(*encoding))
    return list(map(str, paths))


def options(paths: list[str]) -> list[str]:
    """Return a sweep's options for these certificates."""
    return [word for pair in zip(("--tls-ca", "--tls-cert", "--tls-key"), paths, strict=True) for word in pair]


class Cluster:
    """A scheduler, and workers that each have a home of their own, as if on a machine of their own.

    Attributes:
        address: the scheduler's.
        options: with them a sweep uses this cluster.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._certificates = certificates(folder / "tls")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tls://127.0.0.1:{port}"
        self.options = ["--scheduler", self.address, *options(self._certificates)]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._workers: dict[str, tuple[str, dict[str, str]]] = {}
        words = ["--host", "127.0.0.1", "--protocol", "tls", "--port", str(port)]
        self._start("scheduler", sys.executable, "scheduler", *words)

    def _start(self, name: str, python: str, program: str, *words: str, **variables: str) -> None:
        environment = os.environ | {"TRAIN_CHECKPOINTS": "", "GIT_CONFIG_GLOBAL": os.devnull} | variables
        environment["PATH"] = str(Path(python).parent) + os.pathsep + environment["PATH"]
        ca, cert, key = self._certificates
        tls = ["--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [python, "-m", f"distributed.cli.dask_{program}", *words, *tls, "--no-dashboard"],
                cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def start_worker(self, name: str, python: str = sys.executable, **variables: str) -> None:
        """Start a worker, in a Python and with environment variables."""
        self._workers[name] = python, variables
        home = self.folder / f"home-{name}"
        home.mkdir(exist_ok=True)
        words = [self.address, "--nthreads", "1", "--memory-limit", "0", "--name", name]
        words += ["--local-directory", str(home)]
        self._start(name, python, "worker", *words, HOME=str(home), **variables)

    def ask(self, function: Any, *arguments: Any) -> dict[str, Any]:
        """Call a function on each worker, once there are all; return what it returned by the workers' names."""
        from distributed import Client, Security

        ca, cert, key = self._certificates
        security = Security(tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key, require_encryption=True)
        with Client(self.address, security=security, timeout=60) as client:
            client.wait_for_workers(len(self._workers), timeout=120)
            names = {address: one["name"] for address, one in client.scheduler_info(n_workers=-1)["workers"].items()}
            return {names[address]: answer for address, answer in client.run(function, *arguments).items()}

    def kill(self, name: str, whom: str) -> int:
        """Kill a worker, its nanny or both; return how many processes. Start a new nanny where it is gone."""
        worker = self._worker(name)
        victims: list[Any] = [self._processes[name]] if whom != "worker" else []
        victims += [worker] if whom != "nanny" and worker else []
        for victim in victims:
            victim.kill()
        if whom != "worker":
            self._processes[name].wait()
            python, variables = self._workers[name]
            self.start_worker(name, python, **variables)
        return len(victims)

    def remove(self, name: str) -> None:
        """Kill a worker and its nanny for good."""
        worker = self._worker(name)
        self._processes[name].kill()
        if worker:
            worker.kill()

    def owns(self, name: str, clone: Path) -> bool:
        """Say whether this worker's process made this folder for a clone."""
        worker = self._worker(name)
        return worker is not None and clone.name.split("-")[-2] == str(worker.pid)

    def _worker(self, name: str) -> psutil.Process | None:
        """Return the process that runs experiments, a child of the nanny."""
        try:
            children = psutil.Process(self._processes[name].pid).children()
            return next((child for child in children if "spawn_main" in " ".join(child.cmdline())), None)
        except psutil.NoSuchProcess:
            return None

    def stop_scheduler(self) -> None:
        self._processes["scheduler"].kill()

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()  # a worker ends with its nanny
            process.wait()
