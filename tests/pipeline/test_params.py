"""params.yaml: what is right is read, and what is wrong is one sentence."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.program.errors import UserError, clip
from pipeline.settings.params import Params, load_params
from tests.support.refusals import numbers, refused

SECTIONS = {name: field.annotation for name, field in Params.model_fields.items() if field.is_required()}
GOOD = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")


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


def line(key: str) -> str:
    """Return the line of params.yaml that sets the dotted `key`, without its comment."""
    section, name = key.split(".")
    lines = GOOD[GOOD.index(f"{section}:") :].splitlines()
    return next(text for text in lines if text.strip().startswith(f"{name}:")).split("#")[0].rstrip()


def with_line(key: str, new: str) -> str:
    """Return params.yaml with the line of `key` replaced."""
    head, section, tail = GOOD.partition(f"{key.split('.')[0]}:\n")
    assert line(key) in tail
    return head + section + tail.replace(line(key), new, 1)


def with_value(key: str, value: str) -> str:
    return with_line(key, f"  {key.split('.')[1]}: {value}")


def test_repository_params_are_read(load):
    params = load(GOOD)
    assert params.train.hidden_sizes == (50,)
    assert params.train.learning_rate == 0.1
    assert params.preprocess.scaling == "minmax"
    assert params.download.dataset == "mnist"
    assert params.plot.dpi == 120


def test_parameters_stay_as_they_were_read(load):
    params = load(GOOD)
    with pytest.raises(ValueError, match="frozen"):
        params.train.seed = 1


def test_every_key_of_the_file_is_known_and_every_known_key_is_required(refusal):
    for section, model in SECTIONS.items():
        for name, field in model.model_fields.items():
            assert field.is_required()
            text = with_line(f"{section}.{name}", "")
            if len(model.model_fields) == 1:
                text = text.replace(f"{section}:", f"{section}: {{}}")
            error = refusal(text)
            assert error.about == f"{section}.{name}"
            assert field.description in str(error)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("train.learning_rate", "1e-3", 0.001),
        ("train.learning_rate", "0.001", 0.001),
        ("train.learning_rate", "1E+1", 10.0),
        ("train.learning_rate", ".5", 0.5),
        ("train.learning_rate", "2", 2.0),
        ("train.weight_init_std", "1e-05", 1e-5),
        ("train.hidden_sizes", "[]", ()),
        ("train.hidden_sizes", "[100, 20]", (100, 20)),
        ("train.seed", "4294967295", 2**32 - 1),
        ("train.weight_init_std", "he", "he"),
        ("train.momentum", "0.9", 0.9),
        ("train.nesterov", "true", True),
        ("train.activation", '"relu"', "relu"),
        ("download.dataset", "no", "no"),  # in YAML 1.1, false
    ],
)
def test_values_are_read_as_dvc_reads_them(load, tmp_path, key, text, value):
    from dvc.utils.serialize import load_yaml

    section, name = key.split(".")
    read = getattr(getattr(load(with_value(key, text)), section), name)
    assert read == value
    assert type(read) is type(value)
    seen_by_dvc = load_yaml(str(tmp_path / "params.yaml"))[section][name]
    assert (tuple(seen_by_dvc) if isinstance(seen_by_dvc, list) else seen_by_dvc) == value


@pytest.mark.parametrize(
    ("key", "least", "most"),
    [
        ("download.dataset", "a", "a" * 100),
        ("preprocess.validation_size", 1, 10**9),
        ("preprocess.seed", 0, 2**32 - 1),
        ("train.hidden_sizes", (1,), (65536,) * 16),
        ("train.iterations", 1, 10**9),
        ("train.batch_size", 1, 10**6),
        ("train.learning_rate", 5e-324, 1.7976931348623157e308),
        ("train.weight_init_std", 5e-324, 1.7976931348623157e308),
        ("train.seed", 0, 2**32 - 1),
        ("train.warmup", 0, 10**9),
        ("train.patience", 0, 10**9),
        ("plot.misclassified", 1, 100),
        ("plot.dpi", 50, 300),
    ],
)
def test_both_ends_of_a_range_are_in_it_and_nothing_beyond(load, refusal, key, least, most):
    section, name = key.split(".")
    for value in (least, most):
        text = repr(list(value) if isinstance(value, tuple) else value)
        assert getattr(getattr(load(with_value(key, text)), section), name) == value
    for beyond in BEYOND[type(least)](least, most):
        assert refusal(with_value(key, beyond)).about == key


BEYOND = {
    int: lambda least, most: [least - 1, most + 1],
    float: lambda least, most: ["0.0", "-5e-324", ".inf"],
    str: lambda least, most: ["''", most + "a"],
    tuple: lambda least, most: ["[0]", "[65537]", [1] * 17],
}


@pytest.mark.parametrize(
    ("key", "texts"),
    [
        (
            "train.learning_rate",
            "abc 99999999999999999999 true 0 -1 0.0 .nan .inf -.inf 1e999 '0.1' [0.1] {a:1} null 2001-01-01 0x10 1e",
        ),
        ("train.iterations", "0 -1 1e4 50000.0 true '5' 1000000001 1_000 99999999999999999999 [1] null 1:30"),
        ("train.batch_size", "0 1000001"),
        ("train.hidden_sizes", "50 [0] [1.5] [true] [x] [[1]] [65537] null {50:1} [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"),
        ("train.activation", "Sigmoid gelu true 1 null [relu]"),
        ("train.arithmetic", "float64 null"),
        ("train.seed", "-1 4294967296 0.5"),
        ("train.weight_init_std", "0 -1 .inf xavier He true null [0.1]"),
        ("train.optimizer", "SGD adamw null [sgd]"),
        ("train.schedule", "Linear step null"),
        ("train.warmup", "-1 0.5 null"),
        ("train.momentum", "-0.1 1 1.0 .nan true null"),
        ("train.nesterov", "1 0 yes null"),
        ("train.weight_decay", "-1e-9 .inf .nan null"),
        ("train.max_norm", "-1 .inf .nan null"),
        ("train.input_dropout", "-0.1 1 1.0 .nan null"),
        ("train.hidden_dropout", "-0.1 1 1.0 .nan null"),
        ("train.patience", "-1 0.5 null"),
        ("train.keep", "first Best null"),
        ("distort.rotation", "-1 45.1 .nan null"),
        ("distort.shear", "-1 45.1 .nan null"),
        ("distort.scaling", "-1 50.1 .nan null"),
        ("distort.shift", "-1 100.1 .nan null"),
        ("distort.elastic", "-1 20.1 .nan null"),
        ("distort.smoothness", "0 0.9 20.1 .nan null"),
        ("preprocess.scaling", "max no null"),
        ("preprocess.validation_size", "0 -5 0.1"),
        ("download.dataset", "5 true null '' [mnist] 99999999999999999999 -1234567890123456789"),
        ("plot.misclassified", "0 101"),
        ("plot.dpi", "49 301"),
    ],
)
def test_wrong_value_names_key_and_what_is_expected(refusal, key, texts):
    section, name = key.split(".")
    for text in texts.split():
        error = refusal(with_value(key, text))
        assert error.about == key
        assert SECTIONS[section].model_fields[name].description in str(error)


@pytest.mark.parametrize(
    ("text", "key", "suggestion"),
    [
        (with_line("train.learning_rate", "  lerning_rate: 0.1"), "train.lerning_rate", " train.learning_rate?"),
        (GOOD.replace("train:", "trian:"), "trian", " train?"),
        (GOOD + "train.seed: 1\n", "train.seed", " train?"),
        (GOOD + "x: 1\n", "x", " download, preprocess, train, distort, plot."),
        (GOOD + "  scaling: none\n", "plot.scaling", " misclassified, dpi."),
        (GOOD + "<<: {a: 1}\n", "<<", " download, preprocess, train, distort, plot."),
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


def test_key_that_stands_twice_is_refused_with_its_line(refusal):
    text = with_value("train.seed", "1\n  seed: 2")
    error = refusal(text)
    assert error.about == f"line {text[: text.index('seed: 2')].count(chr(10)) + 1}"
    assert " seed " in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "[]",
        "train: 5",
        "train: [a, b]",
        "a: &a [1]\nb: *a",
        "a: &a [x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)),
        "a: !!python/object/apply:os.system [x]",
        "a: !!int [1]",
        "a: !!float {b: 1}",
        "a: !!bool [true]",
        "[" * 60_000,
        "{" * 60_000,
        "? " * 30_000,
        "- " * 30_000,
        "".join(" " * i + "a:\n" for i in range(300)),
        "a: 1\n" * 10_000,
        "".join(f"{i}: 1\n" for i in range(9000)),
        "x" * 70_000,
        "9" * 60_000,
        "\t- a",
        "a\x00",
        '"\\UFFFFFFFF"',
        "%YAML " + "9" * 5000 + ".1\n---\na",
        "a: 1\n---\nb: 1",
        "? [a]\n: b",
        b"\xff\xfe",
        '"a\\nb": 1\n"a\\nb": 2',
        'train: {"a\\nb": 1}',
    ],
    ids=lambda text: repr(text[:12]),
)
def test_hostile_files_are_one_sentence(refusal, text):
    refusal(text)


def test_what_cannot_be_read_is_named(refusal):
    assert "utf-8" in str(refusal(b"\xff\xfe"))
    hexadecimal = refusal(with_value("train.seed", "!!int 0x10"))
    assert hexadecimal.about.startswith("line ")
    assert "not a plain int" in str(hexadecimal)
    assert "a mapping has a tag" in str(refusal(GOOD.replace("train:", "train: !x")))


@pytest.mark.parametrize("nothing", ["", "~", "null", "Null", "NULL"])
def test_key_without_a_value_is_null(refusal, nothing):
    error = refusal(with_value("train.seed", nothing))
    assert error.about == "train.seed"
    assert "is null" in str(error)


def test_missing_file_and_folder(tmp_path):
    for path in [tmp_path / "absent.yaml", tmp_path]:
        assert refused(load_params, path).about == ""


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.integers(0, len(GOOD)), st.integers(0, 60), st.text(alphabet="abc09 .-:#[]{}&*!|>'\"%@`\n\t\\,?~", max_size=12)
)
def test_any_damage_is_read_or_refused(load, start, length, middle):
    with contextlib.suppress(UserError):
        load(GOOD[:start] + middle + GOOD[start + length :])


# Values that replace the file's


def test_a_change_replaces_a_value_of_the_file(write):
    params = load_params(write(GOOD), ["train.seed=7", "train.hidden_sizes=[20, 10]", "download.dataset=no"])
    assert params.train.seed == 7
    assert params.train.hidden_sizes == (20, 10)
    assert params.download.dataset == "no"
    assert params.train.learning_rate == 0.1
    assert load_params(write(GOOD), ["train.seed=7", "train.seed=8"]).train.seed == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("train.sed=1", '-S is "train.sed=1": unknown key train.sed; did you mean train.seed?'),
        ("trian.seed=1", '-S is "trian.seed=1": unknown key trian; did you mean train?'),
        ("train.seed=x", '-S is "train.seed=x": train.seed is "x"; expected a whole number'),
        ("train.seed=1e3", '-S is "train.seed=1e3": train.seed is 1000.0; expected a whole number'),
        ("train.hidden_sizes=[0]", '-S is "train.hidden_sizes=[0]": train.hidden_sizes is [0]; expected'),
        ("train.seed", '"train.seed"; expected SECTION.KEY=VALUE'),
        ("train.seed=", "expected SECTION.KEY=VALUE"),
        ("seed=1", "expected SECTION.KEY=VALUE"),
        ("train.hidden_sizes=[50", '-S is "train.hidden_sizes=[50": not YAML in line 1'),
    ],
)
def test_a_wrong_change_is_one_sentence(write, change, words):
    with pytest.raises(UserError) as caught:
        load_params(write(GOOD), [change])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_of_the_file_is_not_one_of_a_change(write):
    path = write(GOOD.replace("iterations:", "iterations: 0 #"))
    assert str(refused(load_params, path, ["train.seed=1"])).startswith(f"{path}: train.iterations is 0; expected")


def test_a_change_does_not_mend_a_file_that_is_no_mapping(write):
    for text in ("train: 5", "- train", ""):
        error = refused(load_params, write(text), ["train.seed=1"])
        assert "expected" in str(error)


# A record, and its base

RECORD = (
    GOOD
    + """record:
  {paper: "A paper (2003)", published: 0.7, kind: test error, differs: the rate, why: it is faster, like_for_like: true}
"""
)


def test_a_record_says_what_was_published(load):
    assert load(GOOD).record is None
    assert load(RECORD).record.published == 0.7


@pytest.mark.parametrize(
    ("old", "new", "about"),
    [
        ("published: 0.7", "published: low", "record.published"),
        ("published: 0.7", "published: 101", "record.published"),
        (", published: 0.7", "", "record.published"),
        ("paper:", "papre:", "record.papre"),
        ("kind: test error", "kind: 7", "record.kind"),
        ("true}", "true, committee: 5}", "record.committee"),
        ("true}", "true, committee: {paper: a}}", "record.committee.published"),
    ],
)
def test_a_wrong_record_is_refused(refusal, old, new, about):
    assert refusal(RECORD.replace(old, new)).about == about


@pytest.fixture
def based(tmp_path):
    """A function that reads a parameter file with a base."""

    def load(text: str, base: str = GOOD, changes=()):
        (tmp_path / "base.yaml").write_text(base)
        path = tmp_path / "based.yaml"
        path.write_text(text)
        return load_params(path, changes)

    return load


def test_a_file_replaces_values_of_its_base(based, load):
    params = based("base: base.yaml\ntrain: {seed: 7, hidden_sizes: [3]}\n", changes=["train.batch_size=5"])
    good = load(GOOD)
    train = good.train.model_copy(update={"seed": 7, "hidden_sizes": (3,), "batch_size": 5})
    assert params == good.model_copy(update={"train": train})


@pytest.mark.parametrize(
    ("text", "base", "words"),
    [
        ("base: 5", GOOD, ["based.yaml: base is 5", "the name of a file"]),
        ("base: missing.yaml", GOOD, ["missing.yaml", "No such file"]),
        ("base: base.yaml\ntrain: {sed: 7}", GOOD, ["based.yaml", "train.sed", "train.seed"]),
        ("base: base.yaml\ntrain: 5", GOOD, ["based.yaml", "train is 5"]),
        ("base: base.yaml", "- a", ["based.yaml", "expected the keys"]),
    ],
)
def test_a_wrong_base_is_one_sentence(based, text, base, words):
    with pytest.raises(UserError) as refused:
        based(text, base)
    assert all(word in str(refused.value) for word in words)
