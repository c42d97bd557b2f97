"""Good mirrors, hostile ones, and what the download stage makes of them."""

import gzip
import io
import shutil
import subprocess
import sys
import tarfile
import time
import zlib
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest
import yaml
from typer.testing import CliRunner

from pipeline.fetching import fetch as fetching
from pipeline.fetching import mirrors as packages
from pipeline.fetching.fetch import fetch
from pipeline.program.errors import UserError
from pipeline.settings.datasets import TEST_LABELS, TRAIN_IMAGES, load_dataset
from stages.download import download
from tests.support import mirrors
from tests.support.files import contents, memory_below
from tests.support.mirrors import CONTENT, HTML, RAW_FILES, ZIPPED_FILES, Server, answer, endless
from tests.support.project import changed_params
from tests.support.refusals import refusal

# Seconds for a server that never ends
QUICK = {"CONNECT": 2, "ANSWER": 0.3, "TOTAL": 0.4, "AGAIN": 0.02}
PATIENT = QUICK | {"ANSWER": 10, "TOTAL": 20}  # for all others: a busy machine is slow
SLACK = 10  # seconds that a busy machine may add; an endless answer takes twelve
TINY = "npm:tiny@1.0.0/data"
unix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")


@pytest.fixture
def serve():
    """A function that starts a server with some answers; with a certificate it speaks TLS."""
    with ExitStack() as servers:
        yield lambda answers, certificate=None: servers.enter_context(
            closing(Server(answers, certificate))
        )


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")


@pytest.fixture
def files(tmp_path):
    return load_dataset(mirrors.write_datasets(tmp_path, ["nowhere"]), "tiny").by_name()


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "raw"


@pytest.fixture
def good(tmp_path):
    """A mirror that has everything."""
    return mirrors.folder_mirror(tmp_path / "good")


def fetched(files, raw, *mirrors, limits=PATIENT):
    """Fetch every file; return the lines that were reported."""
    lines = []
    with patch.multiple(packages, **limits):
        fetch(files, mirrors, raw, lines.append)
    assert contents(raw) == CONTENT
    return lines


def failure(files, raw, *mirrors, limits=PATIENT):
    """Fetch in vain; return the error's text."""
    with pytest.raises(UserError) as error, patch.multiple(packages, **limits):
        fetch(files, mirrors, raw)
    assert contents(raw).items() <= CONTENT.items()  # nothing unverified, nothing half
    return str(error.value)


# --- Good mirrors ---


def redirects_to(server):
    names = [f"{name}.gz" for name in CONTENT]
    return {name: answer(HTML, "302 Found", f"Location: {server.url}/{name}") for name in names}


def test_web_mirror(serve, files, raw):
    """A server may decompress what is stored as .gz, or call a gzipped file by its plain name."""
    header = "Content-Encoding: gzip"
    answers = {name: answer(gzip.compress(CONTENT[name]), "200 OK", header) for name in CONTENT}
    server = serve(answers | {f"{TRAIN_IMAGES}.gz": answer(CONTENT[TRAIN_IMAGES])})
    fetched(files, raw, server.url)
    assert all("accept-encoding: identity\r\n" in request.lower() for request in server.requests)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\nX-Sum: 1\r\n\r\n"


def test_answers_that_are_right_though_odd(serve, files, raw):
    """A gzip file may have several members, and padding. An answer may end with trailers."""
    plain, chunked = {}, {}
    for name, content in CONTENT.items():
        members = gzip.compress(content[:9]) + gzip.compress(content[9:]) + bytes(512)
        plain[f"{name}.gz"] = answer(members)
        chunked[f"{name}.gz"] = CHUNKED % (len(members), members)
    for answers in (plain, chunked):
        fetched(files, raw, serve(answers).url)
        shutil.rmtree(raw)


def near(files):
    """Return the files with a SHA-256 of which the last digit alone is another one."""
    others = {name: file.sha256[:-1] + "01"[file.sha256[-1] == "0"] for name, file in files.items()}
    return {name: file.model_copy(update={"sha256": others[name]}) for name, file in files.items()}


def test_every_digit_of_the_sha256_counts(files, raw, good):
    assert "SHA-256" in failure(near(files), raw, good)
    assert contents(raw) == {}
    fetched(files, raw, good)
    failure(near(files), raw, good)
    assert contents(raw) == {}, "what was there already is not what is expected"


def test_own_names_at_the_mirror_become_the_standard_ones(tmp_path, raw):
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    files = mirrors.entry([])["files"]
    for key, file in files.items():
        packed = gzip.compress(CONTENT[file["name"]])
        file["name"] = f"sub/{key}.idx.gz"
        (tmp_path / "mine" / file["name"]).write_bytes(packed)
        del file["bytes"]
    dataset = load_dataset(mirrors.write_datasets(tmp_path, ["mine"], files=files), "tiny")
    fetched(dataset.by_name(), raw, *dataset.mirrors)


def test_verified_files_are_not_downloaded_again(serve, files, raw):
    server = serve(ZIPPED_FILES)
    fetched(files, raw, server.url)
    server.asked.clear()
    assert [line.split(":")[0] for line in fetched(files, raw, server.url)] == list(CONTENT)
    assert server.asked == []
    (raw / TEST_LABELS).write_bytes(CONTENT[TEST_LABELS][::-1])
    fetched(files, raw, server.url)
    assert server.asked == [f"{TEST_LABELS}.gz"]


def test_one_mirror_may_have_what_another_lacks(serve, files, raw, good):
    (Path(good) / TEST_LABELS).unlink()
    server = serve(RAW_FILES)
    lines = fetched(files, raw, good, server.url)
    assert set(server.asked) == {f"{TEST_LABELS}.gz", TEST_LABELS}
    assert [server.url in line for line in lines if TEST_LABELS in line] == [True, False]


@pytest.mark.parametrize("status", ["408 Timeout", "429 Too Many Requests", "500 Oh", "599 Odd"])
def test_a_busy_server_is_asked_again_but_not_for_ever(serve, files, raw, status):
    name = f"{TRAIN_IMAGES}.gz"
    server = serve(ZIPPED_FILES | {name: [answer(HTML, status), b"", ZIPPED_FILES[name]]})
    fetched(files, raw, server.url)
    assert server.asked.count(name) == 3
    busy = serve({"*": answer(HTML, status)})
    shutil.rmtree(raw)
    assert status[:3] in failure(files, raw, busy.url)
    assert busy.asked == [name] * 3  # a mirror that fails is not asked for the other files


def test_the_environments_proxy_is_used(serve, files, raw, monkeypatch):
    server = serve(ZIPPED_FILES)
    monkeypatch.setenv("HTTP_PROXY", f"http://localhost:{server.port}")
    fetched(files, raw, "http://mirror.invalid/data")
    assert server.requests[0].startswith(f"GET http://mirror.invalid/data/{TRAIN_IMAGES}.gz ")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_https(serve, tmp_path, files, raw, monkeypatch):
    """It is checked, and never left for http."""
    certificate = tmp_path / "localhost.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext "
    words = f"subjectAltName=DNS:localhost -keyout {certificate} -out {certificate}"
    subprocess.run((command + words).split(), check=True, capture_output=True, timeout=60)
    plain, secure = serve(RAW_FILES), serve(ZIPPED_FILES, certificate)
    assert "SSL" in failure(files, raw, secure.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    fetched(files, raw, serve(redirects_to(secure), certificate).url)
    shutil.rmtree(raw)
    assert "insecure" in failure(files, raw, serve(redirects_to(plain), certificate).url)
    assert plain.asked == []


# --- Bad answers for one file ---


def moved(place):
    return answer(b"", "302 Found", f"Location: {place}")


ZIPPED = gzip.compress(CONTENT[TRAIN_IMAGES])
ALTERED = CONTENT[TRAIN_IMAGES][:-1] + b"\xff"
BOMB = gzip.compress(bytes(10_000_000), 1)
BAD = {
    "truncated": (answer(ZIPPED[:200], length=len(ZIPPED)), "failed"),
    "truncated, well announced": (answer(ZIPPED[:200]), "breaks off"),
    "altered inside gzip": (answer(ZIPPED[:60] + b"\x55" + ZIPPED[61:]), "decompressing"),
    "altered": (answer(gzip.compress(ALTERED)), "SHA-256"),
    "shorter": (answer(gzip.compress(CONTENT[TRAIN_IMAGES][:-1])), "815 bytes"),
    "HTML": (answer(b"\n" + HTML), "web page"),
    "404": (answer(HTML, "404 Whatever"), "HTTP 404"),
    "bomb": (answer(BOMB), "longer than 816 bytes (gzipped) and HTTP 404"),
    "redirects in a circle": (moved(f"{TRAIN_IMAGES}.gz"), "failed (TooManyRedirects)"),
    "redirects to a disk": (moved("file:///etc/hosts"), "failed"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_answer_is_a_failure_of_its_mirror(serve, files, raw, good, kind):
    content, reason = BAD[kind]
    server = serve(ZIPPED_FILES | {f"{TRAIN_IMAGES}.gz": content})
    text = failure(files, raw, server.url)
    assert reason in text
    assert TRAIN_IMAGES in text
    with memory_below(5_000_000):
        lines = fetched(files, raw, server.url, good)
    assert any(reason in line for line in lines)
    assert len(server.asked) < 30  # it is not asked for ever, whatever it answers


def test_a_body_without_a_stated_length_is_bounded(serve, files, raw, monkeypatch):
    """What unfolds ends with the time. Junk that unfolds to nothing is bounded, too."""
    files = {name: file.model_copy(update={"bytes": None}) for name, file in files.items()}
    zeros = zlib.compressobj(wbits=31)
    head = zeros.flush(zlib.Z_FULL_FLUSH)
    bomb = endless(HEAD + b"\r\n" + head, zeros.compress(MEGABYTE) + zeros.flush(zlib.Z_FULL_FLUSH))
    assert f"{QUICK['TOTAL']} seconds" in failure(files, raw, serve({"*": bomb}).url, limits=QUICK)
    monkeypatch.setattr(fetching, "MAX_BYTES", 1000)
    junk = endless(HEAD + b"\r\n\x1f\x8b\x08\x08" + bytes(6), b"a" * 65_536)
    flood = endless(HEAD + b"\r\n", bytes(65_536))
    assert "too long" in failure(files, raw, serve({"*": junk}).url)
    assert "longer than 1000 bytes" in failure(files, raw, serve({"*": flood}).url)


# --- Hostile servers: the next mirror is asked within the time and 40 MB of memory ---

HEAD = b"HTTP/1.1 200 OK\r\n"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /x\r\n"
MEGABYTE = b"x" * (1 << 20)
UNNAMED = b"\x1f\x8b\x08\x08" + MEGABYTE[:400_000]  # the name of a gzipped file has no end
HOSTILE = {
    "dribbled header": endless(HEAD + b"X-Header: ", b"x", 0.05),
    "100 Continue without end": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "dribbled body": endless(HEAD + b"Content-Length: 816\r\n\r\n", b"x", 0.05),
    "redirect with an endless body": endless(REDIRECT + b"\r\n", MEGABYTE),
    "redirect to no address": moved("http://[::1/x"),
    "silent": endless(b"", b"", 0.1),
    "error with an endless body": endless(b"HTTP/1.1 503 Busy\r\n\r\n", MEGABYTE),
    "a long trailer": CHUNKED[:-5] % (len(UNNAMED), UNNAMED) + b"x" * 10_000,
    "a great many headers": endless(HEAD, b"X: " + b"x" * 60_000 + b"\r\n"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_server(serve, files, raw, good, kind):
    bad = serve({"*": HOSTILE[kind]}).url
    begun = time.monotonic()
    with memory_below(40_000_000):
        lines = fetched(files, raw, "http://[::1/data", bad, good, limits=QUICK)
    assert time.monotonic() - begun < QUICK["TOTAL"] + SLACK
    assert all(any(mirror in line for line in lines) for mirror in ("[::1", bad)), "told why"


def test_the_time_is_for_all_files_together(serve, files, raw):
    """Each name alone would be in time."""
    pieces = [lambda: time.sleep(0.25) or b"", lambda: answer(HTML, "404 Not Found")]
    slow = serve({"*": lambda: (piece() for piece in pieces)})
    assert f"{QUICK['TOTAL']} seconds" in failure(files, raw, slow.url, limits=QUICK)


# --- When nothing works ---


def test_all_failures_are_listed_once(serve, tmp_path, files, raw, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    raw.mkdir()
    (raw / TRAIN_IMAGES).write_bytes(HTML)  # an unverified file does not outlive a failure
    server, closed = serve({f"{name}.gz": answer(HTML) for name in CONTENT}), serve({})
    closed.close()
    secret = server.url.replace("//", "//me:secret@")
    text = failure(files, raw, secret, str(tmp_path / "gone"), str(tmp_path), TINY, closed.url)
    first, *reasons, advice = text.splitlines()
    assert all(first.count(name) == 1 for name in CONTENT)
    mirrors = (server.url, f"{tmp_path}/gone", f"{tmp_path}:", TINY, closed.url)
    whys = ("web page", "no such folder", "no such file", "not installed", "connection failed")
    for reason, mirror, why in zip(reasons, mirrors, whys, strict=True):
        assert reason.startswith(f"  {mirror}")  # without the password
        assert reason.count(why) == 1
    assert "DATA_MIRROR" in advice
    assert contents(raw) == {}


def test_a_mirror_that_the_system_refuses_is_one_short_sentence(tmp_path, files, raw):
    (tmp_path / "loop").symlink_to("loop")
    for mirror in (str(tmp_path / "loop"), str(tmp_path / ("x" * 5000))):
        text = failure(files, raw, mirror)
        assert "no such folder" in text
        assert len(text) < 800


def test_a_mirror_that_is_the_output_is_refused(tmp_path, files, good):
    (Path(good) / TRAIN_IMAGES).write_bytes(ALTERED)
    (tmp_path / "link").symlink_to(good)
    with pytest.raises(UserError, match="both the mirror and the output"):
        fetch(files, [str(tmp_path / "link")], Path(good))
    assert (Path(good) / TRAIN_IMAGES).read_bytes() == ALTERED


# --- npm ---

# A package's members: a name, its content, and its type if that is not a plain file's
MEMBERS, NAME = list(CONTENT.items()), tarfile.GNUTYPE_LONGNAME
COPY = 'echo "$*" > "$0.said"; /bin/cp "$0.tgz" tiny-1.0.0.tgz'
E404 = "/bin/sleep 20 & echo 'npm error 404 x\033[2J\nnpm error y\nz' >&2; exit 1"
BAD_PACKAGES = {
    "link": ([(TRAIN_IMAGES, b"", tarfile.SYMTYPE), *MEMBERS[1:]], COPY, "no such file"),
    "long file": ([(TRAIN_IMAGES, bytes(900_000)), *MEMBERS[1:]], COPY, "longer than 816 bytes"),
    "long package": ([*MEMBERS, ("bomb", bytes(9_000_000))], COPY, "too long"),
    "long headers": ([*3 * [("x", b"x" * 1_500_000, NAME)], *MEMBERS], COPY, "too long"),
    "chained names": ([*500 * [("x", b"x", NAME)], *MEMBERS], COPY, "cannot be read"),
    "no package": (MEMBERS, "echo no archive > tiny-1.0.0.tgz", "cannot be read"),
    "half a package": (MEMBERS, "/bin/head -c 300 $0.tgz > tiny-1.0.0.tgz", "cannot be read"),
    "npm finds none": (MEMBERS, E404, "(404 x [2J; y)"),
    "npm says too much": (MEMBERS, "while :; do echo $0$0$0$0; done", "npm pack failed"),
    "npm brings none": (MEMBERS, "", "exit code 0"),
    "npm without end": (MEMBERS, "/bin/sleep 20 & echo $! > $0.child; wait", "0.4 seconds"),
}
if sys.platform == "linux":
    TAKE = f"{sys.executable} -c 'bytearray(2 << 30)' 2>/dev/null || {{ echo no memory; exit 1; }}"
    BAD_PACKAGES["npm takes 2 GB"] = (MEMBERS, TAKE, "no memory")


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A function that installs an npm which runs a script; COPY brings a package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages, "MAX_PACKAGE_BYTES", 8_000_000)

    def install(members, script=COPY):
        with tarfile.open(tmp_path / "npm.tgz", mode="w:gz") as tar:
            for name, content, *kind in members:
                info = tarfile.TarInfo(f"package/data/{name}")
                info.size, info.type = len(content), kind[0] if kind else tarfile.REGTYPE
                tar.addfile(info, io.BytesIO(content))
        (tmp_path / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "npm").chmod(0o755)

    return install


@unix_only
def test_npm_package(npm, tmp_path, files, raw):
    npm([("other", bytes(900_000)), *MEMBERS])
    fetched(files, raw, TINY)
    arguments = (tmp_path / "npm.said").read_text().split()
    assert arguments[:2] == ["pack", "tiny@1.0.0"]
    assert {"--ignore-scripts", "--cache"} <= set(arguments)  # npm's own cache may be read-only


def is_running(number: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    return False


@unix_only
@pytest.mark.parametrize("kind", BAD_PACKAGES)
def test_bad_npm_package(npm, tmp_path, files, raw, kind):
    members, script, reason = BAD_PACKAGES[kind]
    npm(members, script)
    begun = time.monotonic()
    assert reason in failure(files, raw, TINY, limits=QUICK if "seconds" in reason else PATIENT)
    assert time.monotonic() - begun < 10
    child = tmp_path / "npm.child"
    while child.exists() and is_running(int(child.read_text() or 0)):  # it was told to end just now
        assert time.monotonic() - begun < 15
        time.sleep(0.02)


# --- The stage ---


def arguments(tmp_path, raw, *options):
    """Return the stage's arguments for a dataset whose second mirror has everything."""
    params, datasets = tmp_path / "params.yaml", mirrors.write_datasets(tmp_path, ["gone", "good"])
    params.write_text(yaml.safe_dump(changed_params({"download.dataset": "tiny"})))
    return [str(raw), "--params", str(params), "--datasets", str(datasets), *options]


def test_stage_says_where_the_files_came_from(tmp_path, raw, good):
    result = CliRunner().invoke(download, arguments(tmp_path, raw))
    assert (result.exit_code, contents(raw)) == (0, CONTENT)
    assert "tiny, 4 files" in result.stdout
    assert f"{TEST_LABELS}: from {good}" in result.stderr
    assert result.stderr.count("no such folder") == 1


@pytest.mark.parametrize("by_environment", [False, True])
def test_stage_takes_the_named_mirror_and_no_other(serve, tmp_path, raw, good, by_environment):
    server = serve(RAW_FILES)
    for named, code in ((server.url, 0), (str(tmp_path / "gone"), 1)):
        options = [] if by_environment else ["--mirror", named]
        environment = {"DATA_MIRROR": named} if by_environment else {}
        result = CliRunner().invoke(download, arguments(tmp_path, raw, *options), env=environment)
        assert result.exit_code == code, result.output
        assert contents(raw) == (CONTENT if code == 0 else {})
        shutil.rmtree(raw)
    assert TRAIN_IMAGES in server.asked


@pytest.mark.parametrize("mirror", ["ftp://host/x", "npm:tiny/data", "x" * 2000 + "\n"])
def test_stage_refuses_a_mirror_that_is_none(tmp_path, raw, good, mirror):
    result = CliRunner().invoke(download, arguments(tmp_path, raw), env={"DATA_MIRROR": mirror})
    assert "the mirror is" in refusal(result, "", "npm:package@1.2.3/folder")
    assert len(result.stderr) < 250
    assert not raw.exists()
