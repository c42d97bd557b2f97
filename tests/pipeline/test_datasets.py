"""datasets.yaml: what is right is read, and what is wrong is one sentence that names the place."""

from pathlib import Path

import pytest
import yaml

from pipeline.program.errors import UserError
from pipeline.settings.datasets import SAVED_AS, load_dataset
from tests.support.mirrors import entry, write_datasets
from tests.support.refusals import refused


def refusal(path: Path, name: str = "tiny") -> UserError:
    """Return the error with which the entry is refused. It names the place."""
    error = refused(load_dataset, path, name)
    assert error.about in str(error)
    return error


def test_what_may_be_left_out_and_how_sums_may_be_written(tmp_path):
    files = entry([])["files"]
    del files["train_labels"]["bytes"]
    files["test_labels"]["sha256"] = files["test_labels"]["sha256"].upper()
    dataset = load_dataset(write_datasets(tmp_path, ["x"], files=files), "tiny")
    assert dataset.files.train_labels.bytes is None
    assert dataset.files.test_labels.sha256 == entry([])["files"]["test_labels"]["sha256"]
    assert (dataset.whole, dataset.inverted) == (False, False)


def test_a_class_may_have_any_name_that_a_terminal_can_show(tmp_path):
    """Persian has a joiner inside of words, and so have emoji."""
    classes = ["می\u200cشود", "👩\u200d🚀"]
    path = write_datasets(tmp_path, ["x"], classes=classes)
    assert load_dataset(path, "tiny").classes == tuple(classes)
    for name in ("\u200c", "a\u202eb", "a\u2028b", "a\x7f"):
        path = write_datasets(tmp_path, ["x"], classes=["a", name])
        assert refusal(path).about == "tiny.classes[1]"


def test_only_the_entry_asked_for_is_checked_and_a_name_that_is_none_gets_a_hint(tmp_path):
    path = tmp_path / "datasets.yaml"
    path.write_text(yaml.safe_dump({"broken": 5, "tiny": entry(["x"])}))
    assert load_dataset(path, "tiny").classes == tuple("0123456789")
    for name, end in (("tinny", "did you mean tiny?"), ("other", "it has broken, tiny.")):
        error = refusal(path, name)
        assert (error.about, str(error)[-len(end) :]) == (name, end)


def test_mirrors_elsewhere(tmp_path):
    mirrors = ["https://host/folder/", "https://me:secret@host:8443", "https://[::1]/x"]
    mirrors += ["npm:name@1.0.0/folder", "npm:@scope/name@1.0.0/folder/"]
    mirrors += ["npm:name@1.0.0-rc.1+5/folder/in/package"]
    assert load_dataset(write_datasets(tmp_path, mirrors), "tiny").mirrors == tuple(mirrors)


def test_mirrors_on_this_machine(tmp_path):
    """A path starts at the folder of datasets.yaml, wherever the command runs."""
    folders = {
        "mine": tmp_path / "mine",
        "../my images": tmp_path / "../my images",
        str(tmp_path / "other"): tmp_path / "other",
        (tmp_path / "my images").as_uri(): tmp_path / "my images",
        "file://localhost/x": Path("/x"),
    }
    mirrors = load_dataset(write_datasets(tmp_path, [*folders]), "tiny").mirrors
    assert [Path(mirror) for mirror in mirrors] == list(folders.values())


NO_MIRRORS = """
    http://host ftp://host/x HTTPS://host https:// https:///x file://elsewhere/x s3://bucket/x npm:
    npm:name npm:name/folder npm:name@1.0.0 npm:name@1.0.0/ npm:name@1/folder npm:name@latest/folder
    npm:name@^1.0.0/folder npm:--registry=x@1.0.0/folder npm:@scope@1.0.0/folder
    npm:../name@1.0.0/folder npm:name@1.0.0//folder npm:name@https://host/x.tgz
    npm:name@file:x/folder npm:Name@1.0.0/folder
"""


BREAKING = ("file:///a%0ab", "file:///a%00", "file:///%1b", "a\0b")


@pytest.mark.parametrize("text", ["", " ", "a\nb", *BREAKING, *NO_MIRRORS.split()])
def test_no_mirror(tmp_path, text):
    error = refusal(write_datasets(tmp_path, ["fine", text]))
    assert error.about == "tiny.mirrors[1]"
    assert all(kind in str(error) for kind in ("https://", "file:///", "npm:"))


GOOD = entry(["x"])
SHORT, LONG = {"classes": ["a", "b"], "files": GOOD["files"]}, GOOD["files"] | {"more": {}}
BAD_ENTRIES = {
    "a list": ([], "tiny", "classes, mirrors, files, whole, inverted"),
    "a key missing": (SHORT, "tiny.mirrors", "one address or more"),
    "numbers for names": (GOOD | {"classes": [0, 1]}, "tiny.classes", '["0", "1"]'),
    "one class": (GOOD | {"classes": ["a"]}, "tiny.classes", "2 to 256"),
    "257 classes": (GOOD | {"classes": list(map(str, range(257)))}, "tiny.classes", "2 to 256"),
    "a class twice": (GOOD | {"classes": ["a", "a"]}, "tiny.classes", "each name once"),
    "a class of two lines": (GOOD | {"classes": ["a", "b\nc"]}, "tiny.classes[1]", "one line"),
    "no mirrors": (entry([]), "tiny.mirrors", "one address or more"),
    "no files": (GOOD | {"files": {}}, "tiny.files.train_images", "name, bytes, sha256"),
    "another file": (GOOD | {"files": LONG}, "tiny.files.more", ", ".join(SAVED_AS)),
    "text for true": (GOOD | {"inverted": "yes"}, "tiny.inverted", "true or false"),
    "text for false": (GOOD | {"whole": "no"}, "tiny.whole", "true or false"),
}


@pytest.mark.parametrize("kind", BAD_ENTRIES)
def test_bad_entry(tmp_path, kind):
    (bad, key, expected), path = BAD_ENTRIES[kind], tmp_path / "datasets.yaml"
    path.write_text(yaml.safe_dump({"tiny": bad}))
    error = refusal(path)
    assert error.about == key
    assert expected in str(error)


BAD_FILES = {"name": ["", 3, None], "bytes": [0, True, "9"]}
BAD_FILES |= {"sha256": ["abc", "0" * 64 + "\n", "0" * 65, 12]}


@pytest.mark.parametrize("key", BAD_FILES)
def test_bad_file(tmp_path, key):
    files = entry([])["files"]
    for value in BAD_FILES[key]:
        files["test_labels"][key] = value
        error = refusal(write_datasets(tmp_path, ["x"], files=files))
        assert error.about == f"tiny.files.test_labels.{key}"


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe", b"- a\n", b"", b"a: 1\na: 2", None])
def test_not_a_datasets_file(tmp_path, content):
    path = tmp_path / "datasets.yaml"
    if content is not None:
        path.write_bytes(content)
    assert refusal(path).about in ("", "line 1", "line 2", "tiny")
