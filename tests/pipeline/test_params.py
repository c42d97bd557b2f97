"""params.yaml: what is right is read, and what is wrong is one sentence."""

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.program.errors import UserError, clip
from pipeline.settings.params import Params, load_params
from tests.support.project import ROOT, changed_params
from tests.support.refusals import numbers, refused

SECTIONS = {name: field.annotation for name, field in Params.model_fields.items() if field.is_required()}
KEYS = [(section, name) for section, model in SECTIONS.items() for name in model.model_fields]
TRAIN = {
    "seed": 0,
    "hidden_sizes": [50],
    "learning_rate": 0.1,
    "iterations": 10**9,
    "warmup": 0,
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": False,
}
VALUES = changed_params({f"train.{name}": value for name, value in TRAIN.items()})


def dump(values) -> str:
    return yaml.safe_dump(values, sort_keys=False)


def with_value(key: str, text: object) -> str:
    """Return the text of a parameter file with the text of one value replaced."""
    section, name = key.split(".")
    return dump(VALUES | {section: VALUES[section] | {name: "VALUE"}}).replace("VALUE", str(text))


def value_of(params: Params, key: str) -> object:
    section, name = key.split(".")
    return getattr(getattr(params, section), name)


GOOD = dump(VALUES)


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "params.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def load(write):
    return lambda text: load_params(write(text))


@pytest.fixture
def refusal(write):
    """A function that returns the error with which a text is refused, a short sentence."""

    def refusal(text: str | bytes) -> UserError:
        error = refused(load_params, write(text))
        assert clip(error.about) in str(error)
        assert len(str(error)) - len(str(error.path)) < 300
        return error

    return refusal


def test_the_files_values_are_read_and_stay(load):
    from dvc.utils.serialize import load_yaml

    params = load_params(ROOT / "params.yaml")
    expected = load_yaml(str(ROOT / "params.yaml"))
    expected["train"]["hidden_sizes"] = tuple(expected["train"]["hidden_sizes"])
    assert params.model_dump(exclude_none=True) == expected
    with pytest.raises(ValueError, match="frozen"):
        params.train.seed = 1


@pytest.mark.parametrize(("section", "name"), KEYS)
def test_every_key_is_required(refusal, section, name):
    others = {key: value for key, value in VALUES[section].items() if key != name}
    error = refusal(dump(VALUES | {section: others}))
    assert error.about == f"{section}.{name}"
    assert SECTIONS[section].model_fields[name].description in str(error)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("train.learning_rate", "1e-3", 0.001),
        ("train.learning_rate", ".5", 0.5),
        ("train.learning_rate", "2", 2.0),
        ("train.hidden_sizes", "[100, 20]", (100, 20)),
        ("train.nesterov", "FALSE", False),
        ("train.activation", '"relu"', "relu"),
        ("download.dataset", "no", "no"),  # in YAML 1.1, false
    ],
)
def test_values_are_read_by_yaml_1_2(load, key, text, value):
    read = value_of(load(with_value(key, text)), key)
    assert read == value
    assert type(read) is type(value)


# For each key: the texts of its least and its greatest value, or of all; and texts that are refused.
RANGES = {
    "download.dataset": (f"a {'a' * 100}", f"5 true null '' [mnist] {'a' * 101} 99999999999999999999"),
    "preprocess.scaling": ("none minmax zscore", "max no null"),
    "preprocess.validation_size": ("1 1000000000", "0 -5 0.1 1000000001"),
    "preprocess.seed": ("0 4294967295", "-1 4294967296"),
    "train.hidden_sizes": (
        f"[] [1] [{','.join(['65536'] * 16)}]",
        f"50 [0] [1.5] [true] [x] [[1]] [65537] null {{50:1}} [{','.join(['1'] * 17)}]",
    ),
    "train.activation": ("sigmoid tanh relu", "Sigmoid gelu true 1 null [relu]"),
    "train.weight_init_std": ("5e-324 1.7976931348623157e308 glorot he", "0 -1 .inf xavier He true null [0.1]"),
    "train.arithmetic": ("exact float32", "float64 null"),
    "train.seed": ("0 4294967295", "-1 4294967296 0.5 Null NULL ~"),
    "train.iterations": (
        "1 1000000000",
        "0 -1 1e4 50000.0 true '5' 1000000001 1_000 99999999999999999999 [1] null 1:30",
    ),
    "train.batch_size": ("1 1000000", "0 1000001"),
    "train.optimizer": ("sgd adam", "SGD adamw null [sgd]"),
    "train.learning_rate": (
        "5e-324 1.7976931348623157e308",
        "abc true 0 -1 0.0 -5e-324 .nan .inf -.inf 1e999 '0.1' [0.1] {a:1} null 2001-01-01 0x10 1e 9999999999999999999",
    ),
    "train.schedule": ("constant linear cosine", "Linear step null"),
    "train.warmup": ("0 1000000000", "-1 0.5 null 1000000001"),
    "train.momentum": ("0 0.999", "-0.1 1 1.0 .nan true null"),
    "train.nesterov": ("true false", "1 0 yes null"),
    "train.weight_decay": ("0 1e300", "-1e-9 .inf .nan null"),
    "train.max_norm": ("0 1e300", "-1 .inf .nan null"),
    "train.input_dropout": ("0 0.999", "-0.1 1 1.0 .nan null"),
    "train.hidden_dropout": ("0 0.999", "-0.1 1 1.0 .nan null"),
    "train.patience": ("0 1000000000", "-1 0.5 null 1000000001"),
    "train.keep": ("last best", "first Best null"),
    "distort.rotation": ("0 45", "-1 45.1 .nan null"),
    "distort.shear": ("0 45", "-1 45.1 .nan null"),
    "distort.scaling": ("0 50", "-1 50.1 .nan null"),
    "distort.shift": ("0 100", "-1 100.1 .nan null"),
    "distort.elastic": ("0 20", "-1 20.1 .nan null"),
    "distort.smoothness": ("1 20", "0 0.9 20.1 .nan null"),
    "plot.misclassified": ("1 100", "0 101"),
    "plot.dpi": ("50 300", "49 301"),
}


@pytest.mark.parametrize("key", RANGES)
def test_a_range_has_both_its_ends_and_nothing_beyond(load, refusal, key):
    section, name = key.split(".")
    right, wrong = RANGES[key]
    for text in right.split():
        value = value_of(load(with_value(key, text)), key)
        assert str(list(value) if isinstance(value, tuple) else value).replace(" ", "").lower() in (
            text,
            f"{text}.0",
            text.replace("e308", "e+308").replace("e300", "e+300"),
        )
    for text in wrong.split():
        error = refusal(with_value(key, text))
        assert error.about == key
        assert SECTIONS[section].model_fields[name].description in str(error)


def renamed(old: str, new: str) -> str:
    assert GOOD.count(f"{old}:") >= 1
    return GOOD.replace(f"{old}:", f"{new}:", 1)


@pytest.mark.parametrize(
    ("text", "key", "suggestion"),
    [
        (renamed("learning_rate", "lerning_rate"), "train.lerning_rate", " train.learning_rate?"),
        (renamed("train", "trian"), "trian", " train?"),
        (GOOD + "train.seed: 1\n", "train.seed", " train?"),
        (GOOD + "x: 1\n", "x", f" {', '.join(SECTIONS)}."),
        (renamed("plot", "plot:\n  scaling"), "plot.scaling", f" {', '.join(SECTIONS['plot'].model_fields)}."),
        (GOOD + "<<: {a: 1}\n", "<<", f" {', '.join(SECTIONS)}."),
    ],
)
def test_unknown_key_suggests_the_nearest(refusal, text, key, suggestion):
    error = refusal(text)
    assert error.about == key
    assert str(error).endswith(suggestion)


def test_a_long_list_is_cut_short_visibly(refusal):
    error = refusal(with_value("train.hidden_sizes", [1] * 100))
    assert error.about == "train.hidden_sizes"
    assert 20 <= numbers(error).count(1) < 30
    assert "..." in str(error)
    assert "..." not in str(refusal(with_value("train.hidden_sizes", [1] * 21)))  # it is shown whole


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (with_value("train.seed", "1\n  seed: 2"), "the key seed is there twice"),
        (with_value("train.seed", "!!int 0x10"), "not a plain int"),
        (GOOD.replace("train:", "train: !x"), "a mapping has a tag"),
        (GOOD.replace("train:", "? [train]\n:"), "a key is not a name"),
    ],
)
def test_what_is_no_plain_yaml_is_named_with_its_line(refusal, text, words):
    error = refusal(text)
    marks = ("seed: 2", "!!int", "!x", "[train]")
    line = next(number for number, line in enumerate(text.split("\n"), 1) if any(mark in line for mark in marks))
    assert error.about == f"line {line}"
    assert words in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "train: 5",
        "a: &a [x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)),
        "a: !!int [1]",
        "[" * 2_000,
        "- " * 2_000,
        "".join(f"{i}: 1\n" for i in range(1000)),
        "9" * 60_000,
        "a\x00",
        '"\\UFFFFFFFF"',
        "%YAML " + "9" * 5000 + ".1\n---\na",
        "a: 1\n---\nb: 1",
        b"\xff\xfe",
        '"a\\nb": 1\n"a\\nb": 2',
    ],
    ids=lambda text: repr(text[:12]),
)
def test_hostile_files_are_one_sentence(refusal, text):
    refusal(text)


def test_missing_file_and_folder(tmp_path):
    for path in [tmp_path / "absent.yaml", tmp_path]:
        assert refused(load_params, path).about == ""


SCALARS = (
    "0 -1 1 50 1e3 1E-3 1e999 1e-400 -0.0 .5 5. 0x10 010 1_000 1:30 .inf nan true yes No ~ '' '1' none [1,2] !!int"
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(KEYS),
    st.sampled_from([*SCALARS.split(), "2001-01-01", "&x", "*x", "{}", "\x85", "\u202e", "é"])
    | st.text(alphabet="abc09 .-:#[]{}&*!|>'\"%@`\n\t\\,?~", max_size=12),
)
def test_any_value_is_refused_or_read_as_dvc_reads_it(load, tmp_path, key, text):
    from dvc.exceptions import DvcException
    from dvc.utils.serialize import load_yaml

    with contextlib.suppress(UserError, DvcException):  # DVC stops before the stage begins
        params = load(with_value(".".join(key), text)).model_dump(exclude_none=True)
        params["train"]["hidden_sizes"] = list(params["train"]["hidden_sizes"])
        assert load_yaml(str(tmp_path / "params.yaml")) == params


# Values that replace the file's


def test_a_change_replaces_a_value_of_the_file(write):
    params = load_params(
        write(GOOD), ["train.seed=6", "train.hidden_sizes=[2, 1]", "download.dataset=no", "train.seed=7"]
    )
    assert (params.train.seed, params.train.hidden_sizes, params.download.dataset) == (7, (2, 1), "no")
    assert params.train.learning_rate == 0.1


@pytest.mark.parametrize(
    ("change", "about", "words"),
    [
        ("train.sed=1", "train.sed", "train.seed?"),
        ("trian.seed=1", "trian", "train?"),
        ("train.seed=x", "train.seed", "a whole number"),
        ("train.seed=1e3", "train.seed", "1000.0"),
        ("train.hidden_sizes=[0]", "train.hidden_sizes", "[0]"),
        ("train.seed", "", "SECTION.KEY=VALUE"),
        ("train.seed=", "", "SECTION.KEY=VALUE"),
        ("seed=1", "", "SECTION.KEY=VALUE"),
        ("train.hidden_sizes=[50", "", "line 1"),
    ],
)
def test_a_wrong_change_is_one_sentence(write, change, about, words):
    with pytest.raises(UserError) as caught:
        load_params(write(GOOD), ["plot.dpi=60", change])
    assert caught.value.about == about
    assert str(caught.value).startswith(f'-S is "{change}"')
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [with_value("train.iterations", 0), "train: 5", "- train", ""])
def test_a_mistake_of_the_file_is_not_one_of_a_change(write, text):
    refused(load_params, write(text), ["train.seed=1"])


# Values that do not go together


@pytest.mark.parametrize(
    ("about", "right", "wrong"),
    [
        ("train.nesterov", "nesterov=true momentum=0.1", "nesterov=true momentum=0"),
        ("train.nesterov", "nesterov=false optimizer=adam", "nesterov=true optimizer=adam"),
        ("train.warmup", "iterations=70 warmup=70", "iterations=70 warmup=71"),
    ],
)
def test_values_that_do_not_go_together_are_refused(write, about, right, wrong):
    right, wrong = ([f"train.{change}" for change in changes.split()] for changes in (right, wrong))
    load_params(write(GOOD), right)
    with pytest.raises(UserError) as caught:
        load_params(write(GOOD), wrong)
    assert caught.value.about == about
    assert f'-S is "{about}=' in str(caught.value)
    in_file = TRAIN | dict(change.removeprefix("train.").split("=") for change in wrong)
    text = dump(VALUES | {"train": VALUES["train"] | in_file}).replace("'", "")
    assert refused(load_params, write(text)).about == about


# A base


def test_a_file_replaces_values_of_its_base(tmp_path, load):
    good = load(GOOD)
    (tmp_path / "based.yaml").write_text("base: params.yaml\nrecord: 5\ntrain: {seed: 7, hidden_sizes: [3]}\n")
    train = good.train.model_copy(update={"seed": 7, "hidden_sizes": (3,), "batch_size": 5})
    assert load_params(tmp_path / "based.yaml", ["train.batch_size=5"]) == good.model_copy(update={"train": train})


@pytest.mark.parametrize(
    ("text", "base", "words"),
    [
        ("base: 5", GOOD, ["based.yaml: base is 5"]),
        ("base: missing.yaml", GOOD, ["missing.yaml"]),
        ("base: params.yaml\ntrain: {sed: 7}", GOOD, ["based.yaml", "train.sed", "train.seed"]),
        ("base: params.yaml\ntrain: 5", GOOD, ["based.yaml", "train is 5"]),
        ("base: params.yaml", "- a", ["based.yaml", "the keys"]),
    ],
)
def test_a_wrong_base_is_one_sentence(tmp_path, write, text, base, words):
    write(base)
    (tmp_path / "based.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_params(tmp_path / "based.yaml")
    assert all(word in str(caught.value) for word in words)
