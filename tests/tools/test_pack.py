"""Own pictures become a dataset: the images and labels that were given, in files that the pipeline reads."""

import csv
import io
import json
import os
import re
import shlex
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
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
from tests.support.networks import digits
from tests.support.project import ROOT, changed_params
from tests.support.refusals import refusal
from tools.pack.__main__ import main
from tools.pack.dataset import gather
from tools.predict import predict

COMMENTED = "# My datasets, with a comment\r\nother: {classes: [a, b]}  # not read"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with a datasets.yaml; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("datasets.yaml").write_text("# none yet\n")
    return tmp_path


def pack(*arguments: object):
    return CliRunner().invoke(main, list(map(str, arguments)))


def packed(*arguments: object) -> dict[str, list[np.ndarray]]:
    """Pack; return the images of each class, those for training first."""
    result = pack(*arguments)
    assert result.exit_code == 0, result.output
    return images_of(str(arguments[1]))


def images_of(name: str) -> dict[str, list[np.ndarray]]:
    folder, classes = Path("datasets", name), load_dataset(Path("datasets.yaml"), name).classes
    found: dict[str, list[np.ndarray]] = {name: [] for name in classes}
    for images, labels in ((TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS)):
        stored, numbers = read_labelled(folder / images, folder / labels, len(classes))
        for image, number in zip(stored[:], numbers, strict=True):
            found[classes[number]].append(image)
    return found


def contents(folder: Path = Path()) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def draw(name: str, image: np.ndarray) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(name)


def grey(value: int, rows: int = 28, columns: int = 28) -> np.ndarray:
    return np.full((rows, columns), value, np.uint8)


def two_classes(each: int = 5) -> None:
    """Write pictures of different greys into the folders photos/cat and photos/dog."""
    for number in range(each):
        draw(f"photos/cat/{number}.png", grey(number))
        draw(f"photos/dog/{number}.png", grey(200 + number))


def remembered(name: str) -> tuple[bool, bool]:
    """Return whether the entry says that pictures were fitted and inverted."""
    dataset = load_dataset(Path("datasets.yaml"), name)
    return dataset.fitted, dataset.inverted


def greys(name: str = "pets") -> dict[str, list[int]]:
    """Return the first pixel of each image, by class."""
    return {name: [int(image[0, 0]) for image in images] for name, images in images_of(name).items()}


# The pipeline


def test_the_command_that_keeps_a_dataset_can_be_pasted(here):
    two_classes()
    Path("my data").mkdir()
    Path("my data", "datasets.yaml").write_text("")
    result = pack("photos", "pets", "--datasets", "my data/datasets.yaml")
    words = shlex.split(result.stdout.partition("Keep it:")[2].splitlines()[0])
    assert words[:3] == ["dvc", "add", str(Path("my data", "datasets", "pets"))]
    assert words[4:7] == ["git", "add", str(Path("my data", "datasets"))]


def test_the_list_of_datasets_is_replaced_whole(here):
    two_classes()
    os.link("datasets.yaml", "linked.yaml")  # as who has the file open: sees the old content to the end
    packed("photos", "pets")
    assert Path("linked.yaml").read_text() == "# none yet\n"


@pytest.mark.parametrize(("each", "iterations"), [(2, 1000), (50, 1000), (70, 1000), (200, 1000), (700, 1120)])
def test_the_command_that_is_printed_fits_the_images(here, each, iterations):
    for number in range(each):
        draw(f"photos/cat/{number}.png", grey(number % 256))
        draw(f"photos/dog/{number}.png", grey(255 - number % 256))
    printed = pack("photos", "pets").stdout
    training = int(re.search(r": ([\d,]+) training", printed)[1].replace(",", ""))
    params = load_params(ROOT / "params.yaml", re.findall(r"-S (\S+)", printed.partition("Train on it:")[2]))
    assert params.download.dataset == "pets"
    rest = training - params.preprocess.validation_size
    assert 1 <= params.train.batch_size <= rest
    assert params.train.iterations == iterations
    if each > 2:  # an epoch has several steps
        assert params.train.batch_size <= rest / 3 or params.train.batch_size == 100


def test_pictures_of_digits_go_through_the_pipeline(here):
    sample = digits("train")
    numbers = sample.labels.argmax(axis=1)
    for place, (image, number) in enumerate(zip(sample.images, numbers, strict=True)):
        draw(f"photos/{number}/{place:03}.png", image.reshape(28, 28))
    found = packed("photos", "own")
    assert list(found) == list("0123456789")
    for name, images in found.items():
        given = sample.images[numbers == int(name)]
        assert sorted(image.tobytes() for image in images) == sorted(image.tobytes() for image in given)

    changes = {"download.dataset": "own", "preprocess.validation_size": 80, "train.iterations": 200}
    changes |= {"train.learning_rate": 1.0}
    Path("params.yaml").write_text(yaml.safe_dump(changed_params(changes)))
    for stage, arguments in [
        (download, ["raw"]),
        (preprocess, ["raw", "train.npz", "validation.npz", "test.npz"]),
        (train, ["train.npz", "validation.npz", "mlp.npz", "training"]),
        (evaluate, ["mlp.npz", "test.npz", "evaluation"]),
    ]:
        result = CliRunner().invoke(stage, arguments)
        assert result.exit_code == 0, result.output
    assert json.loads(Path("evaluation/test.json").read_text())["accuracy"] > 0.7

    # A picture gives what its image gave: the model remembers that whole pictures were used
    names = [str(path) for path in sorted(Path("photos").glob("*/*.png"))[::50]]
    result = CliRunner().invoke(predict, [*names, "--model", "mlp.npz", "--json"])
    places = [int(Path(name).stem) for name in names]
    expected, _ = probabilities(load_model(Path("mlp.npz")), sample.images[places])
    found = [list(answer["probabilities"].values()) for answer in json.loads(result.stdout)]
    assert found == expected.tolist()


# Folders


def test_share_of_each_class_becomes_test_images(here):
    for number in range(10):
        draw(f"photos/many/{number}.png", grey(number))
    for number in range(3):
        draw(f"photos/few/{number}.png", grey(100 + number))
    for share, expected in ((0.2, 3), (0.5, 7), (0.001, 2), (0.999, 11)):
        Path("datasets.yaml").write_text("")
        packed("photos", "own", "--test-share", share)
        images, labels = (Path("datasets/own") / name for name in (TEST_IMAGES, TEST_LABELS))
        test, numbers = read_labelled(images, labels, 2)
        assert len(test) == expected
        assert set(numbers.tolist()) == {0, 1}, "each class has test images"
        assert sum(map(len, images_of("own").values())) == 13, "no image is lost or there twice"


def test_same_pictures_give_the_same_bytes_and_another_seed_another_split(here):
    two_classes(20)
    packed("photos", "pets")
    first = contents(Path("datasets")), Path("datasets.yaml").read_bytes()
    for path in sorted(Path("photos").rglob("*.png"), reverse=True):  # another order in the folder, another time
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    Path("datasets.yaml").write_text("# none yet\n")
    packed("photos", "pets")
    assert (contents(Path("datasets")), Path("datasets.yaml").read_bytes()) == first

    before = greys()
    Path("datasets.yaml").write_text("")
    packed("photos", "pets", "--seed", 1)
    assert greys() != before
    assert {name: sorted(values) for name, values in greys().items()} == {
        name: sorted(values) for name, values in before.items()
    }


def test_numbers_as_classes_are_in_their_order(here):
    for name in ("10", "9", "2"):
        for number in range(2):
            draw(f"photos/{name}/{number}.png", grey(0))
    assert list(packed("photos", "own")) == ["2", "9", "10"]


def test_file_that_cannot_be_used_is_named_and_left_out(here):
    two_classes()
    expected = {
        "photos/cat/notes.txt": "not an image",
        "photos/cat/empty.png": "not an image",
        "photos/dog/damaged.png": "damaged",
        "photos/dog/huge.png": "pixels",
        "photos/readme.txt": "not in a class's folder",
    }
    for name in expected:
        Path(name).write_text("" if "empty" in name else "Hello")
    Path("photos/dog/damaged.png").write_bytes(Path("photos/dog/1.png").read_bytes()[:50])
    Image.new("1", (70_000, 1)).save("photos/dog/huge.png")
    Path("photos/dog/.DS_Store").write_text("of the system")
    Path("photos/dog/more").mkdir()

    result = pack("photos", "pets")
    assert result.exit_code == 0
    *lines, count = result.stderr.splitlines()
    for name, words in (expected | {"photos/dog/more": "a folder"}).items():
        (line,) = (line for line in lines if f"{Path(name)}:" in line)
        assert words in line
    assert len(lines) == len(expected) + 1
    assert count == "6 files were left out."
    assert {name: sorted(values) for name, values in greys().items()} == {
        "cat": [0, 1, 2, 3, 4],
        "dog": [200, 201, 202, 203, 204],
    }


def test_strict_writes_nothing_if_a_file_cannot_be_used(here):
    two_classes()
    Path("photos/cat/notes.txt").write_text("Hello")
    before = contents()
    result = pack("photos", "pets", "--strict")
    assert result.exit_code == 1
    assert "--strict" in result.stderr.splitlines()[-1]
    assert contents() == before
    Path("photos/cat/notes.txt").unlink()
    assert pack("photos", "pets", "--strict").exit_code == 0


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], ["photos", "one subfolder for each class"]),
        (["photos/1.png", "photos/2.png"], ["photos", "one subfolder for each class"]),
        (["photos/cat/1.png", "photos/cat/2.png"], ["photos", "1"]),
        (["photos/cat/1.png", "photos/cat/2.png", "photos/dog/"], [str(Path("photos/dog")), "no picture"]),
        (["photos/cat/1.png", "photos/cat/2.png", "photos/dog/1.png"], ["dog", "1 image"]),
        ([f"photos/{number}/1.png" for number in range(257)], ["photos", "257"]),
    ],
    ids=["nothing", "no class", "one class", "an empty class", "a class with one picture", "257 classes"],
)
def test_folder_that_is_no_dataset(here, files, words):
    Path("photos").mkdir()
    for name in files:
        if name.endswith("/"):
            Path(name).mkdir()
        else:
            draw(name, grey(0))
    before = contents()
    refusal(pack("photos", "pets"), "", *words)
    assert contents() == before


@pytest.mark.parametrize(
    ("light", "options", "cure"),
    [(200, [], "better: --invert."), (200, ["--invert"], ""), (50, [], ""), (50, ["--invert"], "leave out --invert.")],
)
def test_light_images_get_a_note(here, light, options, cure):
    for number in range(4):
        for name in ("cat", "dog"):
            draw(f"photos/{name}/{number}.png", grey(light))
    result = pack("photos", "pets", *options)
    assert result.exit_code == 0
    assert ("mostly light" in result.stderr) == bool(cure)
    assert cure in result.stderr


# Images


def test_options_for_the_images(here):
    two_classes()
    (image, *_) = packed("photos", "small", "--size", "12x20")["dog"]
    assert image.shape == (12, 20)
    assert sorted(int(image[0, 0]) for image in packed("photos", "inverted", "--invert")["cat"]) == [*range(251, 256)]
    assert remembered("small") == (True, False)
    assert remembered("inverted") == (True, True)

    for name in ("ink/0", "ink/1"):
        for number in range(2):
            picture = grey(255, 50, 70)
            picture[10:40, 30 + number : 36] = 0  # dark on light
            draw(f"{name}/{number}.png", picture)
    for image in packed("ink", "digits", "--prepare", "digit")["1"]:
        assert image.shape == (28, 28)
        assert (image[0, 0], image.max()) == (0, 255)
        assert np.count_nonzero(image.any(axis=1)) == 20
    assert remembered("digits") == (False, False)


def test_coloured_transparent_and_16_bit_pictures_become_grey(here):
    for name in ("a", "b"):
        Path("photos", name).mkdir(parents=True)
        Image.new("RGB", (5, 5), (255, 0, 0)).save(f"photos/{name}/1.png")
        Image.new("RGBA", (5, 5), (0, 0, 0, 0)).save(f"photos/{name}/2.png")
        Image.fromarray(np.full((5, 5), 257 * 100, np.uint16)).save(f"photos/{name}/3.png")
    found = packed("photos", "own", "--size", "4")
    assert sorted(int(image[0, 0]) for image in found["a"]) == [76, 100, 255]


def test_images_are_not_kept_in_memory(tmp_path):
    image = np.zeros((200, 200), np.uint8)
    images = ((str(number % 2), image) for number in range(500))  # 20 MB
    tracemalloc.start()
    gathered = gather(tmp_path, images, tmp_path / "spool")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert gathered.images.shape == (500, 200, 200)
    assert peak < 2_000_000


# CSV files


def csv_text(rows: list[list[object]], **how: object) -> str:
    text = io.StringIO()
    csv.writer(text, **{"lineterminator": "\n"} | how).writerows(rows)
    return text.getvalue()


SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5))
LABELS = st.sampled_from(["0", "1", "cat", "a, b", 'say "b"', "신발"])


@st.composite
def tables(draw):
    """Draw a shape, and rows of a label and an image. Two labels are there twice."""
    shape = draw(SHAPES)
    first, second = draw(st.lists(LABELS, min_size=2, max_size=2, unique=True))
    labels = draw(st.permutations([first, first, second, second, *draw(st.lists(st.sampled_from([first, second])))]))
    return shape, [(label, draw(arrays(np.uint8, shape))) for label in labels]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tables(),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_csv_gives_its_images_and_labels(here, table, header, line_end, quoting, encoding):
    (rows, columns), given = table
    lines: list[list[object]] = [[label, *image.ravel().tolist()] for label, image in given]
    if header:
        lines.insert(0, ["label", *(f"pixel{place}" for place in range(rows * columns))])
    text = csv_text(lines, lineterminator=line_end, quoting=quoting)
    Path("own.csv").write_bytes((text + line_end).encode(encoding))
    Path("datasets.yaml").write_text("")
    found = packed("own.csv", "own", "--size", f"{rows}x{columns}")
    for name in {label for label, _ in given}:
        expected = sorted(image.tobytes() for label, image in given if label == name)
        assert sorted(image.tobytes() for image in found[name]) == expected
    assert remembered("own") == (False, False)


def test_images_of_a_csv_file_inverted(here):
    Path("own.csv").write_text("a,0\nb,1\na,0\nb,1\n")
    packed("own.csv", "own", "--invert")
    assert greys("own") == {"a": [255, 255], "b": [254, 254]}
    assert remembered("own") == (False, False)  # a new picture is no row of a table


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary() | st.text('0123456789,"\n\r .-ax').map(str.encode))
def test_any_file_gives_a_dataset_or_one_sentence(here, content):
    Path("own.csv").write_bytes(content)
    Path("datasets.yaml").write_text("")
    result = pack("own.csv", "own")
    if result.exit_code:
        refusal(result, "own.csv")
        assert Path("datasets.yaml").read_text() == ""
    else:
        assert images_of("own")


ROWS: list[list[object]] = [["a", *range(1, 10)], ["b", *range(10, 19)], ["a", *range(9)], ["b", *[255] * 9]]


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ((2, 3, "256"), "line 3"),
        ((2, 3, "-1"), "line 3"),
        ((2, 3, "1.5"), "line 3"),
        ((0, 1, ""), "line 1"),
        ((0, 1, "x"), "line 1"),
        ((3, 0, ""), "''"),
    ],
)
def test_cell_that_is_no_pixel_or_label_is_named(here, change, about):
    row, column, value = change
    rows = [list(row) for row in ROWS]
    rows[row][column] = value
    Path("own.csv").write_text(csv_text(rows))
    refusal(pack("own.csv", "own"), "own.csv", *([about] if "line" in about else []))
    assert not Path("datasets").exists()


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (csv_text(ROWS)[:-5], [], ["line 4", "9", "8"]),
        (csv_text(ROWS).replace(",", ";"), [], ["commas"]),
        (csv_text([row[:6] for row in ROWS]), [], ["line 1", "5", "--size ROWSxCOLUMNS"]),
        (csv_text(ROWS), ["--size", "28"], ["28 × 28", "9"]),
        (csv_text(ROWS), ["--size", "9x3"], ["9 × 3", "28x20 for 28 rows of 20"]),
        (csv_text(ROWS), ["--prepare", "digit"], ["--prepare"]),
        (csv_text(ROWS[:3]), [], ["class b"]),
        ("", [], ["0"]),
    ],
    ids=[
        "cut short",
        "semicolons",
        "no square",
        "another size",
        "another shape",
        "prepared",
        "one image of a class",
        "empty",
    ],
)
def test_csv_that_is_no_dataset(here, text, options, words):
    Path("own.csv").write_text(text)
    before = contents()
    refusal(pack("own.csv", "own", *options), "", *words)
    assert contents() == before


# datasets.yaml


@pytest.mark.parametrize("text", [COMMENTED, COMMENTED + "\r\n", "", "# nothing\n", "---\nother: 1\n"])
def test_entry_is_added_below_and_nothing_else_changes(here, text):
    two_classes()
    Path("datasets.yaml").write_bytes(text.encode())
    packed("photos", "pets")
    now = Path("datasets.yaml").read_bytes().decode()
    assert now.startswith(text)
    added = now.removeprefix(text).lstrip("\n")
    assert added.startswith("pets:\n")
    assert yaml.safe_load(added)["pets"]["mirrors"] == ["datasets/pets"]


@pytest.mark.parametrize("text", ["{}\n", "{other: 1}\n", "other: 1\n...\n", "- 1\n", "  other: 1\n", "7\n", "a: [\n"])
def test_file_to_which_no_entry_can_be_added_stays_as_it_is(here, text):
    two_classes()
    Path("datasets.yaml").write_text(text)
    before = contents()
    refusal(pack("photos", "pets"), "datasets.yaml")
    assert contents() == before


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=9)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES | st.sampled_from(["1e3", "yes", "null", "0x10", "a: b", "# c", "'"]), min_size=2, unique=True))
def test_any_names_of_classes_are_read_as_they_were_written(here, names):
    rows = [[name, 0] for name in names for _ in range(2)]
    Path("own.csv").write_text(csv_text(rows, quoting=csv.QUOTE_ALL), encoding="utf-8", newline="")
    Path("datasets.yaml").write_text("")
    if pack("own.csv", "own").exit_code == 0:
        assert set(load_dataset(Path("datasets.yaml"), "own").classes) == {name.strip() for name in names}


def test_name_that_is_there_is_refused_unless_it_is_the_same_dataset(here):
    two_classes()
    packed("photos", "pets")
    before = contents()
    again = pack("photos", "pets")
    assert again.exit_code == 0
    assert contents() == before

    draw("photos/cat/0.png", grey(77))
    before = contents()
    refusal(pack("photos", "pets"), "datasets.yaml", "pets")
    assert contents() == before


def test_a_label_is_any_byte(here):
    rows = [[f"class {number:03}", number % 256] for number in range(256) for _ in range(2)]
    Path("own.csv").write_text(csv_text(rows), encoding="utf-8", newline="")
    assert len(packed("own.csv", "own")) == 256


@pytest.mark.parametrize("name", ["", "../up", "a/b", "-x", "1", "a b", "ä", "x" * 65, "nan", "No"])
def test_name_that_is_no_name(here, name):
    two_classes()
    before = contents()
    refusal(pack("photos", "--", name))
    assert contents() == before


@pytest.mark.parametrize("size", ["0", "28x", "x28", "28*28", "1449x1449", "-1", "28x28x28", "", "９"])
def test_size_that_is_no_size(here, size):
    two_classes()
    refusal(pack("photos", "pets", f"--size={size}"), "", "--size", "ROWSxCOLUMNS", "28x20 (28 rows of 20 pixels")


@pytest.mark.parametrize("share", ["0", "1", "-0.1", "nan", "2"])
def test_share_that_is_no_share(here, share):
    two_classes()
    refusal(pack("photos", "pets", f"--test-share={share}"), "", "--test-share")


def test_files_are_beside_the_datasets_file_and_its_mirror_leads_there(here):
    two_classes()
    Path("elsewhere").mkdir()
    datasets = Path("elsewhere/datasets.yaml")
    datasets.write_text("")
    assert pack("photos", "pets", "--datasets", datasets).exit_code == 0
    Path("params.yaml").write_text(yaml.safe_dump(changed_params({"download.dataset": "pets"})))
    result = CliRunner().invoke(download, ["raw", "--datasets", str(datasets)])
    assert result.exit_code == 0, result.output
    assert contents(Path("raw")).keys() == {str(Path("raw", path.name)) for path in Path("elsewhere").rglob("*ubyte")}


@pytest.mark.parametrize("source", ["gone", "gone.csv"])
def test_source_that_is_missing(here, source):
    refusal(pack(source, "pets"), source)


def test_datasets_file_that_is_missing(here):
    two_classes()
    Path("datasets.yaml").unlink()
    refusal(pack("photos", "pets"), "datasets.yaml")
    assert not Path("datasets").exists()
