"""Sweeps with real workers: on this machine, and over TLS with a Git remote, killed at random moments."""

import datetime
import ipaddress
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import Project, new_project

from faults.common import SEED, times

pytestmark = pytest.mark.slow
pytest.importorskip("distributed", reason="make slow and make faults install it")

AXES = ["-S", "train.seed=0,1,2", "-S", "train.activation=sigmoid,tanh"]
POINTS = 6


class Sweeps:
    """A committed project, a Git remote and a DVC remote that have all of it.

    Attributes:
        project: the leader's clone.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.project = new_project(folder)
        run = self.project.run
        self.project.set_params(Project.small | {"train.iterations": 4000})
        run("dvc", "repro", "-q")
        run("dvc", "remote", "add", "-q", "--default", "storage", str(folder / "storage"))
        run("dvc", "config", "core.autostage", "false")
        self.project.commit("Run")
        run("git", "clone", "-q", "--bare", ".", "../origin.git")
        run("git", "remote", "add", "origin", "../origin.git")
        run("dvc", "push", "-q")

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a sweep. Its Ctrl-C reaches it and no other process of this test."""
        return subprocess.Popen(
            [sys.executable, "-m", "tools.sweep", *words],
            cwd=self.project.folder,
            env=self.project.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def sweep(self, *words: str) -> tuple[int, str]:
        """Run a sweep; return its exit code and what it printed."""
        process = self.start(*words)
        printed, _ = process.communicate(timeout=600)
        return process.returncode, printed

    def clones(self) -> list[Path]:
        """Return the clones that workers have left."""
        return [path for clones in self.folder.rglob("clones") for path in clones.iterdir()]

    def running(self) -> list[psutil.Process]:
        """Return the processes that work in a clone."""
        found = []
        for process in psutil.process_iter(["cwd"]):
            if f"{self.folder}" in (process.info["cwd"] or "") and "/clones/" in process.info["cwd"]:
                found.append(process)
        return found


def states(printed: str) -> list[tuple[str, str]]:
    """Return each experiment and its state in the table at the end of a sweep."""
    return re.findall(r"^(\w+-[0-9a-f]{8})  +(\w+(?: \w+)?)  ", printed, re.MULTILINE)


def trees(printed: str) -> dict[str, str]:
    """Return the hash of each experiment's files, without the prefix of its name."""
    return dict(re.findall(r"^\w+-([0-9a-f]{8})  +.* ([0-9a-f]{12}) *$", printed, re.MULTILINE))


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory) -> Sweeps:
    return Sweeps(tmp_path_factory.mktemp("sweeps"))


@pytest.fixture(scope="module")
def undisturbed(sweeps) -> dict[str, str]:
    """The files of each experiment, from a sweep on this machine that nothing disturbs."""
    code, printed = sweeps.sweep("local", *AXES, "--control", "0.2")
    assert code == 0, printed
    assert sorted([state for _, state in states(printed)]) == ["done"] * POINTS + ["same bytes"]
    found = trees(printed)
    assert len(found) == len(set(found.values())) == POINTS
    return found


# On this machine


def test_a_sweep_makes_ordinary_experiments(sweeps, undisturbed):
    names = [f"local-{name}" for name in undisturbed]
    run = sweeps.project.run
    shown = run("dvc", "exp", "list", "--name-only").stdout.split()
    assert sorted(names) == sorted(name for name in shown if name.startswith("local-"))
    table = run(sys.executable, "-m", "tools.compare", "local-*").stdout
    assert table.count("train.activation=") == 4  # two settings, and the title of their comparison
    run("dvc", "exp", "apply", "--quiet", names[0])
    assert run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    run("git", "restore", ".")
    run("dvc", "checkout", "--quiet")


def test_a_second_start_runs_nothing(sweeps, undisturbed):
    code, printed = sweeps.sweep("local", *AXES)
    assert (code, printed) == (0, f"{POINTS} experiments, {POINTS} of them known.\n")


def test_a_stage_that_fails_fails_the_sweep(sweeps, undisturbed):
    code, printed = sweeps.sweep("bad", "-S", "train.learning_rate=0.5,1e300")
    assert code == 1
    assert sorted([state for _, state in states(printed)]) == ["done", "failed"]
    assert "error: training diverged" in printed
    assert not sweeps.clones()


def test_other_bytes_are_noticed(sweeps, undisturbed):
    """The known experiment gets other metrics, as if another machine had made it."""
    run = sweeps.project.run
    name = f"local-{next(iter(undisturbed))}"
    (ref,) = (line.split()[-1] for line in run("git", "for-each-ref").stdout.splitlines() if line.endswith(name))
    rev = run("git", "rev-parse", ref).stdout.strip()
    branch = run("git", "branch", "--show-current").stdout.strip()
    run("git", "checkout", "--quiet", "--force", "--detach", rev)
    metrics = sweeps.project.folder / "metrics" / "test.json"
    metrics.write_text(metrics.read_text().replace("0.", "0.0"))
    sweeps.project.commit("Tamper")
    run("git", "update-ref", ref, "HEAD")
    run("git", "checkout", "--quiet", branch)
    try:
        code, printed = sweeps.sweep("local", *AXES, "--again")
    finally:
        run("git", "update-ref", ref, rev)
    assert code == 1
    assert (name, "OTHER BYTES") in states(printed)
    assert "other bytes in metrics/test.json" in printed
    assert [state for _, state in states(printed)].count("same bytes") == POINTS - 1


@pytest.mark.parametrize("seconds", [3, 7])
def test_ctrl_c_stops_a_sweep_and_leaves_nothing(sweeps, undisturbed, seconds):
    process = sweeps.start("stopped", "-S", "train.seed=0,1,2,3", "-S", "train.iterations=200000")
    time.sleep(seconds)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert time.monotonic() - began < 10
    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    time.sleep(1)  # a guard that was told to kill does it
    assert sweeps.running() == []
    assert sweeps.clones() == []


# Over TLS


def certificates(folder: Path) -> list[Path]:
    """Write an authority's certificate, and one with its key that it signed for this machine; return the paths."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def name(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])

    keys = {who: ec.generate_private_key(ec.SECP256R1()) for who in ("authority", "machine")}
    now = datetime.datetime.now(datetime.UTC)
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
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
        )
        made[who] = builder.sign(keys["authority"], hashes.SHA256())
    folder.mkdir()
    paths = [folder / file for file in ("ca.pem", "machine.pem", "machine.key")]
    for path, certificate in zip(paths, made.values(), strict=False):
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[2].write_bytes(keys["machine"].private_bytes(*encoding))
    return paths


class Cluster:
    """A scheduler and two workers over TLS on loopback. Each worker has its own home, as if on its own machine."""

    def __init__(self, folder: Path):
        self.folder = folder
        ca, cert, key = map(str, certificates(folder / "tls"))
        self._tls = ["--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tls://127.0.0.1:{free.getsockname()[1]}"
        self.options = ["--scheduler", self.address, "--tls-ca", ca, "--tls-cert", cert, "--tls-key", key]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        port = self.address.rpartition(":")[2]
        self._start("scheduler", "--host", "127.0.0.1", "--protocol", "tls", "--port", port)
        for name in ("one", "two"):
            self.start_worker(name)

    def _start(self, name: str, *words: str, **variables: str) -> None:
        kind = "scheduler" if name == "scheduler" else "worker"
        environment = os.environ | {"TRAIN_CHECKPOINTS": "", "GIT_CONFIG_GLOBAL": os.devnull} | variables
        environment["PATH"] = str(Path(sys.executable).parent) + os.pathsep + environment["PATH"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + kind, *words, *self._tls, "--no-dashboard"],
                cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def start_worker(self, name: str) -> None:
        """Start a worker; the second has the kernels of another processor."""
        home = self.folder / f"home-{name}"
        home.mkdir(exist_ok=True)
        kernels = {"OPENBLAS_CORETYPE": "Prescott"} if name == "two" else {}
        words = [self.address, "--nthreads", "1", "--memory-limit", "0", "--name", name]
        self._start(name, *words, "--local-directory", str(home), HOME=str(home), **kernels)

    def worker_process(self, name: str) -> psutil.Process | None:
        """Return the process that runs experiments, a child of the nanny."""
        try:
            children = psutil.Process(self._processes[name].pid).children()
        except psutil.NoSuchProcess:
            return None
        return next((child for child in children if "spawn_main" in " ".join(child.cmdline())), None)

    def kill(self, name: str, whom: str) -> int:
        """Kill a worker, its nanny or both; return how many processes. Start a new nanny where it is gone."""
        killed = 0
        worker = self.worker_process(name)
        if whom != "worker":
            self._processes[name].kill()
            self._processes[name].wait()
            killed += 1
        if whom != "nanny" and worker:
            worker.kill()
            killed += 1
        if whom != "worker":
            self.start_worker(name)
        return killed

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()  # a worker ends with its nanny
            process.wait()


@pytest.fixture
def cluster(sweeps, tmp_path) -> Iterator[Cluster]:
    sweeps.folder.joinpath("clusters").mkdir(exist_ok=True)
    found = Cluster(tmp_path)
    yield found
    found.stop()


def left_behind(folder: Path) -> list[str]:
    """Return the clones in the homes of a cluster, and the processes that work in one."""
    processes = [
        " ".join(process.cmdline())
        for process in psutil.process_iter(["cwd"])
        if str(folder) in (process.info["cwd"] or "") and "/clones/" in process.info["cwd"]
    ]
    return processes + [str(path) for clones in folder.rglob("clones") for path in clones.iterdir()]


def test_workers_elsewhere_make_the_same_files(sweeps, undisturbed, cluster):
    code, printed = sweeps.sweep("tls", *AXES, *cluster.options)
    assert code == 0, printed
    assert set([state for _, state in states(printed)]) == {"done"}
    assert trees(printed) == undisturbed
    assert len(set(re.findall(r"done +(\S+)", printed))) == 2, "both workers"
    assert left_behind(cluster.folder) == []
    # The two remotes are enough to get a model
    sweeps.project.run("git", "clone", "-q", "../origin.git", "../elsewhere")
    there = Project(sweeps.folder / "elsewhere")
    name = next(name for name in re.findall(r"^(tls-\w+)", printed, re.MULTILINE))
    there.run("dvc", "exp", "pull", "--quiet", "origin", name)
    there.run("dvc", "exp", "apply", "--quiet", name)
    assert (there.folder / "models" / "mlp.npz").exists()


def test_a_client_without_certificate_is_refused(sweeps, cluster, tmp_path):
    others = map(str, certificates(tmp_path / "others"))
    words = [word for pair in zip(("--tls-ca", "--tls-cert", "--tls-key"), others, strict=True) for word in pair]
    code, printed = sweeps.sweep("foreign", "-S", "train.seed=0", "--scheduler", cluster.address, *words)
    assert code == 1
    assert "cannot be reached" in printed
    assert "Traceback" not in printed


def test_workers_and_leader_killed_at_any_moment(sweeps, undisturbed, cluster, count):
    """Each point ends once, with the files of an undisturbed sweep, and nothing is left."""
    chance = random.Random(SEED)
    wanted = times(6)
    process = None
    prefix = f"killed{SEED}"
    ends = time.monotonic() + 120 * wanted
    while count["SIGKILL"] < wanted or process is None or process.poll() != 0:
        if process is None or process.poll() is not None:
            process = sweeps.start(prefix, *AXES, *cluster.options)
        time.sleep(chance.uniform(3, 9))
        assert time.monotonic() < ends, "the sweep does not come to its end"
        if count["SIGKILL"] < wanted:
            if chance.random() < 0.25 and process.poll() is None:
                process.kill()
                count["SIGKILL"] += 1
            else:
                whom = chance.choice(["worker", "nanny", "both"])
                count["SIGKILL"] += cluster.kill(chance.choice(["one", "two"]), whom)
    known = sweeps.project.run("dvc", "exp", "list", "--name-only", "origin").stdout.split()
    assert sum(name.startswith(prefix) for name in known) == POINTS
    code, printed = sweeps.sweep(prefix, *AXES, *cluster.options, "--again")
    assert code == 0, printed
    assert set([state for _, state in states(printed)]) == {"same bytes"}
    assert trees(printed) == undisturbed
    count["compared"] += POINTS
    assert left_behind(cluster.folder) == []
