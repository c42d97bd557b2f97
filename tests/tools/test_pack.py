"""Own pictures become a dataset: the images and labels that were given, in files that the pipeline reads."""

import csv
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from mlp.network import predict as probabilities
from pipeline.images.idx import read_labelled
from pipeline.settings.datasets import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, load_dataset
from pipeline.settings.params import load_params
from pipeline.store.artifacts import load_model
from stages.download import download
from stages.evaluate import evaluate
from stages.preprocess import preprocess
from stages.train import train
from tests.support.networks import some_digits
from tests.support.project import Project, changed_params
from tests.support.refusals import refusal
from tools.pack.__main__ import main
from tools.predict import predict

COMMENTED = "# My datasets, with a comment\r\nother: {classes: [a, b]}  # not read"
ROWS: list[list[object]] = [["a", *range(1, 10)], ["b", *range(10, 19)], ["a", *range(9)], ["b", *[255] * 9]]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with a datasets.yaml; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("datasets.yaml").write_text("# none yet\n")
    return tmp_path


def pack(*arguments: object):
    return CliRunner().invoke(main, list(map(str, arguments)))


def packed(source: str, name: str, *options: object) -> dict[str, list[np.ndarray]]:
    """Pack into a new list of datasets; return the images of each class, those for training first."""
    Path("datasets.yaml").write_text("")
    result = pack(source, name, *options)
    assert result.exit_code == 0, result.output
    classes = load_dataset(Path("datasets.yaml"), name).classes
    found: dict[str, list[np.ndarray]] = {name: [] for name in classes}
    for images, labels in ((TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS)):
        stored, numbers = read_labelled(Path("datasets", name, images), Path("datasets", name, labels), len(classes))
        for image, number in zip(stored[:], numbers, strict=True):
            found[classes[number]].append(image)
    return found


def contents(folder: Path = Path()) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def draw(name: str, image: np.ndarray | int) -> None:
    """Write a picture: an image, or one grey."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((28, 28), image, np.uint8) if isinstance(image, int) else image).save(name)


def two_classes(each: int = 5) -> None:
    """Write pictures of different greys into the folders photos/cat and photos/dog."""
    for number in range(each):
        draw(f"photos/cat/{number}.png", number)
        draw(f"photos/dog/{number}.png", 200 + number)


def write_csv(rows: list[list[object]], **how: object) -> str:
    """Write own.csv; return its text."""
    text = io.StringIO()
    csv.writer(text, **{"lineterminator": "\n"} | how).writerows(rows)
    Path("own.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    return text.getvalue()


def remembered(name: str) -> tuple[bool, bool]:
    """Return whether the entry says that pictures were fitted and inverted."""
    dataset = load_dataset(Path("datasets.yaml"), name)
    return dataset.fitted, dataset.inverted


def greys(found: dict[str, list[np.ndarray]]) -> dict[str, list[int]]:
    """Return the first pixel of each image, by class, in order."""
    return {name: sorted(int(image[0, 0]) for image in images) for name, images in found.items()}


def test_files_and_the_command_that_keeps_them_are_where_the_list_of_datasets_is(here):
    two_classes()
    Path("my data").mkdir()
    Path("my data", "datasets.yaml").write_text("")
    result = pack("photos", "pets", "--datasets", "my data/datasets.yaml")
    words = shlex.split(result.stdout.partition("Keep it:")[2].splitlines()[0])
    assert words[:3] == ["dvc", "add", str(Path("my data", "datasets", "pets"))]
    assert words[4:8] == ["git", "add", str(Path("my data", "datasets")), str(Path("my data", "datasets.yaml"))]
    Path("params.yaml").write_text(yaml.safe_dump(changed_params({"download.dataset": "pets"})))
    result = CliRunner().invoke(download, ["raw", "--datasets", "my data/datasets.yaml"])
    assert result.exit_code == 0, result.output
    assert len(contents(Path("raw"))) == 4


@pytest.mark.parametrize(("each", "iterations"), [(2, 1000), (50, 1000), (70, 1000), (700, 1120)])
def test_the_command_that_is_printed_fits_the_images(here, each, iterations):
    write_csv([[name, number % 256] for name in "ab" for number in range(each)])
    printed = pack("own.csv", "pets").stdout
    training = int(re.search(r": ([\d,]+) training", printed)[1].replace(",", ""))
    default = {"train.batch_size": 100, "preprocess.validation_size": 10_000}
    Path("params.yaml").write_text(yaml.safe_dump(changed_params(default)))
    params = load_params(Path("params.yaml"), re.findall(r"-S (\S+)", printed.partition("Train on it:")[2]))
    assert params.download.dataset == "pets"
    rest = training - params.preprocess.validation_size
    assert 1 <= params.train.batch_size <= rest
    assert params.train.iterations == iterations
    if each > 2:  # an epoch has several steps
        assert params.train.batch_size <= rest / 3 or params.train.batch_size == 100


def test_pictures_of_digits_go_through_the_pipeline(here):
    sample = some_digits(0, 400)
    numbers = sample.labels.argmax(axis=1)
    for place, (image, number) in enumerate(zip(sample.images, numbers, strict=True)):
        draw(f"photos/{number}/{place:03}.png", image.reshape(28, 28))
    found = packed("photos", "own")
    assert list(found) == list("0123456789")
    for name, images in found.items():
        given = sample.images[numbers == int(name)]
        assert sorted(image.tobytes() for image in images) == sorted(image.tobytes() for image in given)

    changes = Project.small | {"download.dataset": "own", "preprocess.validation_size": 80}
    Path("params.yaml").write_text(yaml.safe_dump(changed_params(changes)))
    for stage, arguments in [
        (download, ["raw"]),
        (preprocess, ["raw", "train.npz", "validation.npz", "test.npz"]),
        (train, ["train.npz", "validation.npz", "mlp.npz", "training"]),
        (evaluate, ["mlp.npz", "test.npz", "evaluation"]),
    ]:
        result = CliRunner().invoke(stage, arguments)
        assert result.exit_code == 0, result.output

    # A picture gives what its image gave: the model remembers that whole pictures were used
    names = [str(path) for path in sorted(Path("photos").glob("*/*.png"))[::50]]
    result = CliRunner().invoke(predict, [*names, "--model", "mlp.npz", "--json"])
    expected, _ = probabilities(load_model(Path("mlp.npz")), sample.images[[int(Path(name).stem) for name in names]])
    assert [[*answer["probabilities"].values()] for answer in json.loads(result.stdout)] == expected.tolist()


def test_share_of_each_class_becomes_test_images(here):
    write_csv([["many", grey] for grey in range(10)] + [["few", 100 + grey] for grey in range(3)])
    for share, expected in ((0.2, 3), (0.5, 7), (0.001, 2), (0.999, 11)):
        found = packed("own.csv", "own", "--test-share", share)
        test = Path("datasets", "own", TEST_LABELS).read_bytes()[8:]
        assert (len(test), set(test)) == (expected, {0, 1}), "each class has test images"
        assert greys(found) == {"few": [100, 101, 102], "many": [*range(10)]}, "none is lost or there twice"


def test_same_pictures_give_the_same_bytes_and_another_seed_another_split(here):
    two_classes(20)
    before = greys(packed("photos", "pets"))
    first = contents(Path("datasets")), Path("datasets.yaml").read_bytes()
    for path in sorted(Path("photos").rglob("*.png"), reverse=True):  # another order in the folder, another time
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    packed("photos", "pets")
    assert (contents(Path("datasets")), Path("datasets.yaml").read_bytes()) == first
    assert greys(packed("photos", "pets", "--seed", 1)) == before
    assert contents(Path("datasets")) != first[0]


def test_file_that_cannot_be_used_is_named_and_left_out(here):
    two_classes()
    expected = {
        "photos/cat/notes.txt": "not an image",
        "photos/cat/empty.png": "not an image",
        "photos/dog/damaged.png": "damaged",
        "photos/dog/huge.png": "pixels",
        "photos/dog/more": "a folder",
        "photos/readme.txt": "not in a class's folder",
    }
    for name in ("photos/cat/notes.txt", "photos/cat/empty.png", "photos/readme.txt", "photos/dog/.DS_Store"):
        Path(name).write_text("" if "empty" in name else "Hello")
    Path("photos/dog/damaged.png").write_bytes(Path("photos/dog/1.png").read_bytes()[:50])
    Image.new("1", (70_000, 1)).save("photos/dog/huge.png")
    Path("photos/dog/more").mkdir()

    before = contents()
    strict = pack("photos", "pets", "--strict")
    assert (strict.exit_code, contents()) == (1, before)
    assert "--strict" in strict.stderr.splitlines()[-1]
    result = pack("photos", "pets")
    *lines, count = result.stderr.splitlines()
    for name, words in expected.items():
        (line,) = (line for line in lines if f"{Path(name)}:" in line)
        assert words in line
    assert len(lines) == len(expected)
    assert count == "6 files were left out."
    assert greys(packed("photos", "pets")) == {"cat": [*range(5)], "dog": [*range(200, 205)]}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["photos/1.png", "photos/2.png"], ["photos", "one subfolder for each class"]),
        (["photos/cat/1.png", "photos/cat/2.png"], ["photos", "1"]),
        (["photos/cat/1.png", "photos/cat/2.png", "photos/dog/"], [str(Path("photos/dog")), "no picture"]),
        (["photos/cat/1.png", "photos/cat/2.png", "photos/dog/1.png"], ["dog", "1 image"]),
        ([f"photos/{number}/1.png" for number in range(257)], ["photos", "257"]),
    ],
)
def test_folder_that_is_no_dataset(here, files, words):
    for name in files:
        Path(name).mkdir(parents=True) if name.endswith("/") else draw(name, 0)
    before = contents()
    refusal(pack("photos", "pets"), "", *words)
    assert contents() == before


def test_light_images_get_a_note(here):
    for light, options, cure in (
        (200, [], "better: --invert."),
        (50, ["--invert"], "leave out --invert."),
        (50, [], ""),
    ):
        write_csv([[name, light] for name in "aabb"])
        Path("datasets.yaml").write_text("")
        result = pack("own.csv", "own", *options)
        assert (result.exit_code, "mostly light" in result.stderr) == (0, bool(cure))
        assert cure in result.stderr


def test_options_for_the_images(here):
    two_classes()
    assert packed("photos", "small", "--size", "12x20")["dog"][0].shape == (12, 20)
    assert remembered("small") == (True, False)
    assert greys(packed("photos", "inverted", "--invert"))["cat"] == [*range(251, 256)]
    assert remembered("inverted") == (True, True)
    for number in range(4):
        picture = np.full((50, 70), 255, np.uint8)
        picture[10:40, 30 + number : 36] = 0  # dark on light
        draw(f"ink/{number % 2}/{number}.png", picture)
    for image in packed("ink", "digits", "--prepare", "digit")["1"]:
        assert image.shape == (28, 28)
        assert (image[0, 0], image.max()) == (0, 255)
        assert np.count_nonzero(image.any(axis=1)) == 20
    assert remembered("digits") == (False, False)
    write_csv([["a", 0], ["b", 1]] * 2)
    assert greys(packed("own.csv", "table", "--invert")) == {"a": [255, 255], "b": [254, 254]}
    assert remembered("table") == (False, False)  # a new picture is no row of a table


@pytest.mark.parametrize("header", [[], [["label", "pixel0", "pixel1"]]])
@pytest.mark.parametrize(("line_end", "encoding"), [("\n", "utf-8"), ("\r\n", "utf-8-sig")])
def test_csv_gives_its_images_and_labels(here, header, line_end, encoding):
    names = ["0", "1e3", "yes", "null", "a, b", 'say "b"', "a: b", "# c", "'", "신발"]
    rows = [[name, number, 255 - again] for number, name in enumerate(names) for again in range(3)]
    text = write_csv(header + rows, lineterminator=line_end)
    Path("own.csv").write_bytes((text + line_end).encode(encoding))
    found = packed("own.csv", "own", "--size", "1x2")
    assert list(found) == sorted(names)
    for number, name in enumerate(names):
        assert sorted(image.ravel().tolist() for image in found[name]) == [[number, 255 - again] for again in (2, 1, 0)]


def with_cell(row: int, column: int, value: str) -> list[list[object]]:
    """Return ROWS with another cell."""
    rows = [list(row) for row in ROWS]
    rows[row][column] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        (with_cell(2, 3, "256"), [], ["line 3"]),
        (with_cell(2, 3, "-1"), [], ["line 3"]),
        (with_cell(0, 1, "x"), [], ["line 1"]),
        (with_cell(3, 0, ""), [], ["own.csv"]),
        ([*ROWS[:3], ["b", *[255] * 8]], [], ["line 4", "9", "8"]),
        ([[";".join(map(str, row))] for row in ROWS], [], ["commas"]),
        ([row[:6] for row in ROWS], [], ["line 1", "5", "--size ROWSxCOLUMNS"]),
        (ROWS, ["--size", "28"], ["28 × 28", "9"]),
        (ROWS, ["--size", "9x3"], ["9 × 3", "28x20 for 28 rows of 20"]),
        (ROWS, ["--prepare", "digit"], ["--prepare"]),
        (ROWS[:3], [], ["class b"]),
        ([], [], ["0"]),
    ],
)
def test_csv_that_is_no_dataset(here, rows, options, words):
    write_csv(rows)
    before = contents()
    refusal(pack("own.csv", "own", *options), "", *words)
    assert contents() == before


@pytest.mark.parametrize("text", [COMMENTED, COMMENTED + "\r\n", "", "# nothing\n", "---\nother: 1\n"])
def test_entry_is_added_below_and_nothing_else_changes(here, text):
    write_csv(ROWS)
    Path("datasets.yaml").write_bytes(text.encode())
    assert pack("own.csv", "pets").exit_code == 0
    now = Path("datasets.yaml").read_bytes().decode()
    assert now.startswith(text)
    added = now.removeprefix(text).lstrip("\n")
    assert added.startswith("pets:\n")
    assert yaml.safe_load(added)["pets"]["mirrors"] == ["datasets/pets"]


@pytest.mark.parametrize("text", ["{}\n", "other: 1\n...\n", "- 1\n", "  other: 1\n", "7\n", "a: [\n"])
def test_file_to_which_no_entry_can_be_added_stays_as_it_is(here, text):
    write_csv(ROWS)
    Path("datasets.yaml").write_text(text)
    before = contents()
    refusal(pack("own.csv", "pets"), "datasets.yaml")
    assert contents() == before


def test_classes_are_in_order_and_a_label_is_any_byte(here):
    write_csv([[name, 0] for name in ("10", "9", "2") for _ in range(2)])
    assert list(packed("own.csv", "own")) == ["2", "9", "10"], "numbers by their values"
    write_csv([[f"class {number:03}", number % 256] for number in range(256) for _ in range(2)])
    assert list(packed("own.csv", "own").values())[255][0] == 255


def test_name_that_is_there_is_refused_unless_it_is_the_same_dataset(here):
    write_csv(ROWS)
    packed("own.csv", "own")
    before = contents()
    again = pack("own.csv", "own")
    assert (again.exit_code, contents()) == (0, before)
    assert "was there already" in again.stdout
    write_csv(ROWS[::-1])
    before = contents()
    refusal(pack("own.csv", "own"), "datasets.yaml", "own")
    assert contents() == before


SIZE = ["--size", "ROWSxCOLUMNS", "28x20 (28 rows of 20 pixels"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        *((["own.csv", "--", name], []) for name in ("", "../up", "-x", "1", "a b", "ä", "x" * 65, "nan", "No")),
        *(
            (["own.csv", "own", f"--size={size}"], SIZE)
            for size in ("0", "28x", "28*28", "1449x1449", "1x1x1", "", "９")
        ),
        *((["own.csv", "own", f"--test-share={share}"], ["--test-share"]) for share in ("0", "1", "-0.1", "nan")),
        (["gone", "own"], ["gone"]),
        (["own.csv", "own", "--datasets", "gone.yaml"], ["gone.yaml"]),
    ],
)
def test_argument_that_is_not_allowed(here, arguments, words):
    write_csv(ROWS)
    before = contents()
    refusal(pack(*arguments), "", *words)
    assert contents() == before
