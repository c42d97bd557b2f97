"""Own pictures become a dataset: the given images and labels, in files for the pipeline."""

import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from mlp.prediction import predict as probabilities
from pipeline.images.idx import read_labelled
from pipeline.settings import datasets
from pipeline.settings.datasets import TEST_LABELS, load_dataset
from pipeline.settings.params import load_params
from pipeline.store.artifacts import load_model
from tests.support.files import contents
from tests.support.flow import run_stage
from tests.support.networks import some_digits
from tests.support.project import Project, changed_params
from tests.support.refusals import refusal
from tools.pack.__main__ import main
from tools.predict import predict

ROWS: list[list[object]] = [["a", *range(1, 10)], ["b", *range(10, 19)]]
ROWS += [["a", *range(9)], ["b", *[255] * 9]]
FILES = [(datasets.TRAIN_IMAGES, datasets.TRAIN_LABELS), (datasets.TEST_IMAGES, TEST_LABELS)]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder with a datasets.yaml; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("datasets.yaml").write_text("# none yet\n")


def pack(*arguments: object):
    return CliRunner().invoke(main, list(map(str, arguments)))


def packed(source: str, name: str, *options: object) -> dict[str, list[np.ndarray]]:
    """Pack into a new list of datasets; return each class's images, those for training first."""
    Path("datasets.yaml").write_text("")
    result = pack(source, name, *options)
    assert result.exit_code == 0, result.output
    classes = load_dataset(Path("datasets.yaml"), name).classes
    found: dict[str, list[np.ndarray]] = {name: [] for name in classes}
    folder = Path("datasets", name)
    for images, labels in FILES:
        stored, numbers = read_labelled(folder / images, folder / labels, len(classes))
        for image, number in zip(stored[:], numbers, strict=True):
            found[classes[number]].append(image)
    return found


def refuses(*arguments: object, words: list[str]) -> None:
    """Fail unless arguments are refused with words in a sentence, and nothing is written."""
    before = contents(Path())
    refusal(pack(*arguments), "", *words)
    assert contents(Path()) == before


def draw(name: str, image: np.ndarray | int) -> None:
    """Write a picture: an image, or one grey."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((28, 28), image, np.uint8) if isinstance(image, int) else image
    Image.fromarray(pixels).save(name)


def two_classes() -> None:
    """Write pictures of different greys into the folders photos/cat and photos/dog."""
    for number in range(5):
        draw(f"photos/cat/{number}.png", number)
        draw(f"photos/dog/{number}.png", 200 + number)


def write_csv(rows: list[list[object]]) -> None:
    Path("own.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))


def greys(found: dict[str, list[np.ndarray]]) -> dict[str, list[int]]:
    """Return the first pixel of each image, by class, in order."""
    return {name: sorted(int(image[0, 0]) for image in images) for name, images in found.items()}


@pytest.mark.parametrize(("each", "iterations"), [(2, 2000), (50, 2000), (700, 2240)])
def test_the_commands_that_are_printed_keep_the_files_and_fit_the_images(each, iterations):
    write_csv([[name, number % 256] for name in "ab" for number in range(each)])
    Path("my data").mkdir()
    Path("my data", "datasets.yaml").write_text("")
    printed = pack("own.csv", "pets", "--datasets", "my data/datasets.yaml").stdout
    words = shlex.split(printed.partition("Keep it:")[2].splitlines()[0])
    assert words[:3] == ["dvc", "add", str(Path("my data", "datasets", "pets"))]
    added = [str(Path("my data", name)) for name in ("datasets", "datasets.yaml")]
    assert words[4:8] == ["git", "add", *added]
    training = int(re.search(r": ([\d,]+) training", printed)[1].replace(",", ""))
    settings = re.findall(r"-S (\S+)=(\S+)", printed.partition("Train on it:")[2])
    changes = {key: yaml.safe_load(value) for key, value in settings}
    default = {"train.batch_size": 100, "preprocess.validation_size": 10_000}
    Path("params.yaml").write_text(yaml.safe_dump(changed_params(default | changes)))
    params = load_params(Path("params.yaml"))
    rest = training - params.preprocess.validation_size
    assert (params.download.dataset, params.train.iterations) == ("pets", iterations)
    assert 1 <= params.train.batch_size <= rest
    assert each == 2 or params.train.batch_size <= rest / 3, "an epoch has several steps"


def test_pictures_of_digits_go_through_the_pipeline():
    sample = some_digits(0, 400)
    numbers = sample.labels.argmax(axis=1)
    for place, (image, number) in enumerate(zip(sample.images, numbers, strict=True)):
        draw(f"photos/{number}/{place:03}.png", image.reshape(28, 28))
    for name, images in packed("photos", "own").items():
        given = [image.tobytes() for image in sample.images[numbers == int(name)]]
        assert sorted(image.tobytes() for image in images) == sorted(given)

    changes = Project.small | {"download.dataset": "own", "preprocess.validation_size": 80}
    Path("params.yaml").write_text(yaml.safe_dump(changed_params(changes)))
    for stage in ("download", "preprocess", "train", "evaluate"):
        result = run_stage(stage)
        assert result.exit_code == 0, result.output
    # A picture gives what its image gave: the model remembers that whole pictures were used
    names = [str(path) for path in sorted(Path("photos").glob("*/*.png"))[::50]]
    result = CliRunner().invoke(predict, [*names, "--json"])
    images = sample.images[[int(Path(name).stem) for name in names]]
    expected, _ = probabilities(load_model(Path("models/mlp.npz")), images)
    answers = json.loads(result.stdout)
    assert [[*answer["probabilities"].values()] for answer in answers] == expected.tolist()


def test_share_of_each_class_becomes_test_images_which_the_seed_chooses():
    write_csv([["10", grey] for grey in range(10)] + [["9", 100 + grey] for grey in range(3)])
    for share, expected in ((0.2, 3), (0.5, 7), (0.001, 2), (0.999, 11)):
        found = packed("own.csv", "own", "--test-share", share)
        test = Path("datasets", "own", TEST_LABELS).read_bytes()[8:]
        assert (len(test), set(test)) == (expected, {0, 1}), "each class has test images"
        assert greys(found) == {"9": [100, 101, 102], "10": [*range(10)]}, "each once"
        assert list(found) == ["9", "10"], "numbers are in the order of their values"
    before = contents(Path())
    packed("own.csv", "own", "--test-share", 0.999)
    assert contents(Path()) == before
    packed("own.csv", "own", "--test-share", 0.999, "--seed", 1)
    assert contents(Path()) != before


def test_file_that_cannot_be_used_is_named_and_left_out():
    two_classes()
    for name in ("photos/cat/notes.txt", "photos/readme.txt", "photos/dog/.DS_Store"):
        Path(name).write_text("Hello")
    Path("photos/dog/more").mkdir()
    # a named pipe, where there are any: opening it would wait
    getattr(os, "mkfifo", os.mkdir)("photos/dog/pipe.png")
    lines = pack("photos", "pets").stderr.splitlines()
    expected = {"cat/notes.txt": "not an image", "dog/more": "not a regular"}
    expected |= {"dog/pipe.png": "not a regular", "readme.txt": "not in a class's folder"}
    for line, (name, words) in zip(sorted(lines), expected.items(), strict=True):
        assert line.startswith(f"left out: {Path('photos', name)}: ")
        assert words in line
    assert greys(packed("photos", "pets")) == {"cat": [*range(5)], "dog": [*range(200, 205)]}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["1.png", "2.png"], ["one subfolder for each class", "0"]),
        (["cat/1.png", "cat/2.png", "dog/"], ["no picture"]),
        (["cat/1.png", "cat/2.png", "dog/1.png"], ["dog", "1 image"]),
        ([f"{number}/1.png" for number in range(257)], ["257"]),
        ([f"{number}/1.png" for number in range(256)], ["1 image"]),  # as many classes are allowed
    ],
)
def test_folder_that_is_no_dataset(files, words):
    for name in files:
        if name.endswith("/"):
            Path("photos", name).mkdir(parents=True)
        else:
            draw(f"photos/{name}", 0)
    refuses("photos", "pets", words=["photos", *words])


def test_options_for_the_images_are_used_and_remembered():
    def remembered(name: str) -> tuple[bool, bool]:
        dataset = load_dataset(Path("datasets.yaml"), name)
        return dataset.whole, dataset.inverted

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
        assert (image.shape, image[0, 0], image.max()) == ((28, 28), 0, 255)
        assert np.count_nonzero(image.any(axis=1)) == 20
    assert remembered("digits") == (False, False)
    write_csv([["a", 0], ["b", 1]] * 2)
    assert "leave out --invert" in pack("own.csv", "table", "--invert").stderr
    assert remembered("table") == (False, False)  # a new picture is no row of a table
    for grey, words in ((127, ""), (128, "better: --invert.")):  # half of the pixels' range
        write_csv([["a", grey], ["b", grey]] * 2)
        said = pack("own.csv", f"grey-{grey}").stderr
        assert words in said
        assert bool(words) == bool(said)


WINDOWS = ["label,pixel0,pixel1"], "\r\n", "utf-8-sig"


@pytest.mark.parametrize(("header", "line_end", "encoding"), [([], "\n", "utf-8"), WINDOWS])
def test_csv_gives_its_images_and_labels(header, line_end, encoding):
    names = ["# c", "'", "0", "1e3", "a, b", "a: b", "null", 'say "b"', "yes", "신발"]  # sorted
    cells = [name if " " not in name else '"' + name.replace('"', '""') + '"' for name in names]
    lines = [f"{cell},{number},{last}" for number, cell in enumerate(cells) for last in (9, 8, 7)]
    Path("own.csv").write_bytes(line_end.join([*header, *lines, "", ""]).encode(encoding))
    found = packed("own.csv", "own", "--size", "1x2")
    assert list(found) == names
    for number, name in enumerate(names):
        images = sorted(image.ravel().tolist() for image in found[name])
        assert images == [[number, last] for last in (7, 8, 9)]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("pixels", [25, 400])
def test_a_header_of_numbers_is_no_image(first, pixels):
    """Pandas numbers columns without names."""
    header = ["label", *range(first, first + pixels)]
    write_csv([header, *([name, *[number] * pixels] for name in "ab" for number in (3, 9))])
    assert greys(packed("own.csv", "own")) == {"a": [3, 9], "b": [3, 9]}
    header[-1] = 300
    write_csv([header, ["a", *[1] * pixels]])
    refuses("own.csv", "other", words=["line 1"])


def test_entry_is_added_below_unless_the_name_is_there():
    """The same dataset may be packed again."""
    write_csv(ROWS)
    text = "# A comment\r\nother: {classes: [a, b]}  # not read"
    Path("datasets.yaml").write_bytes(text.encode())
    assert pack("own.csv", "pets").exit_code == 0
    now = Path("datasets.yaml").read_bytes().decode()
    assert now.startswith(text)
    assert yaml.safe_load(now)["pets"]["mirrors"] == ["datasets/pets"]
    before = contents(Path())
    assert (pack("own.csv", "pets").exit_code, contents(Path())) == (0, before)
    write_csv(ROWS[::-1])
    refuses("own.csv", "pets", words=["datasets.yaml", "pets"])


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([*ROWS[:3], ["b", *[255] * 8, 256]], [], ["line 4"]),
        ([["a", "x", *[0] * 8], *ROWS], [], ["line 1"]),
        ([*ROWS, ["", *[0] * 9]], [], ["own.csv"]),
        ([*ROWS[:3], ["b", *[255] * 8]], [], ["line 4", "9", "8"]),
        ([[";".join(map(str, row))] for row in ROWS], [], ["commas"]),
        ([row[:6] for row in ROWS], [], ["line 1", "5", "--size ROWSxCOLUMNS"]),
        (ROWS, ["--size", "9x3"], ["9 × 3", "28x20 for 28 rows of 20"]),
        (ROWS, ["--prepare", "digit"], ["--prepare"]),
        *((ROWS, ["--size", size], ["--size"]) for size in ("0", "28*28", "1449x1449")),
        *((ROWS, ["--test-share", share], ["--test-share"]) for share in ("0", "1", "nan")),
    ],
)
def test_csv_and_options_that_are_refused(rows, options, words):
    write_csv(rows)
    refuses("own.csv", "own", *options, words=words)


def test_names_and_lists_of_datasets_that_are_refused():
    write_csv(ROWS)
    for name in ("../up", "a b", "x" * 65, "No"):
        refuses("own.csv", name, words=["name"])
    for text in ("{}\n", "- 1\n"):  # no entry can be added at the end
        Path("datasets.yaml").write_text(text)
        refuses("own.csv", "pets", words=["datasets.yaml"])
