"""params.yaml: what is right is read, and what is wrong is one sentence."""

import re
import time
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import parse_yaml

from pipeline.program.errors import UserError, clip
from pipeline.settings.checked import parse_plain_yaml, show
from pipeline.settings.params import Params, load_params
from tests.support.files import memory_below
from tests.support.project import changed_params
from tests.support.refusals import refused

SECTIONS = {name: field.annotation for name, field in Params.model_fields.items()}
TRAIN = {"seed": 0, "hidden_sizes": [50], "learning_rate": 0.1, "iterations": 10**9, "warmup": 0}
TRAIN |= {"optimizer": "sgd", "momentum": 0.9, "nesterov": False}
VALUES = changed_params({f"train.{name}": value for name, value in TRAIN.items()})


def dump(values) -> str:
    return yaml.safe_dump(values, sort_keys=False)


def with_value(key: str, text: object) -> str:
    """Return the text of a parameter file with the text of one value replaced."""
    section, name = key.split(".")
    return dump(VALUES | {section: VALUES[section] | {name: "VALUE"}}).replace("VALUE", str(text))


GOOD = dump(VALUES)
# Two aliases in each line, so the last one has 2**24 values
LINES = [
    f"{new}: &{new} ITEM[*{old}, *{old}]" for old, new in pairwise("abcdefghijklmnopqrstuvwxy")
]
LISTS = "\n".join(["a: &a [x]", *LINES]).replace("ITEM", "")
MERGED = re.sub("ITEM(.*)", r"{<<: \1}", "\n".join(["a: &a {x: 1}", *LINES]))


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "params.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def refusal(write):
    """A function that returns the error with which a text is refused, a short sentence."""

    def refusal(text: str | bytes) -> UserError:
        path = write(text)
        error = refused(load_params, path)
        assert clip(error.about) in str(error)
        assert len(str(error)) - len(str(path)) < 300
        return error

    return refusal


WHOLE, POSITIVE = "-1 0.5 null 1000000001", "5e-324 1.7976931348623157e308"
NO_SIZES = "[0] [1.5] [true] [x] [[1]] [65537] null {50:1}"
DECIMAL = "abc true 0 -1 0.0 -5e-324 .nan .inf -.inf 1e999 '0.1' [0.1] {a:1} null 2001-01-01 1e"
SHARE, AT_LEAST_ZERO = ("0 0.999", "-0.1 1 1.0 .nan true null"), ("0 1e300", "-1e-9 .inf .nan null")
SIXTEEN, SEVENTEEN = ",".join(["65536"] * 16), ",".join(["1"] * 17)
NO_TEXT, NO_STEPS = f"5 true null '' [mnist] {'a' * 101} {'9' * 20}", "1e4 50000.0 true '5' [1]"
# For each key: the texts of its least and its greatest value, or of all; and what is refused
RANGES = {
    "download.dataset": (f"a no {'a' * 100}", NO_TEXT),
    "preprocess.scaling": ("none minmax zscore", "max no null"),
    "preprocess.validation_size": ("1 1000000000", f"0 {WHOLE}"),
    "preprocess.seed": ("0 4294967295", "-1 4294967296"),
    "train.hidden_sizes": (f"[] [1] [{SIXTEEN}]", f"50 {NO_SIZES} [{SEVENTEEN}]"),
    "train.activation": ("sigmoid tanh relu", "Sigmoid gelu true 1 null [relu]"),
    "train.weight_init_std": (f"{POSITIVE} glorot he", "0 -1 .inf xavier He true null [0.1]"),
    "train.arithmetic": ("exact float32", "float64 null"),
    "train.seed": ("0 4294967295", "-1 4294967296 0.5 Null NULL ~"),
    "train.iterations": ("1 1000000000", f"0 {WHOLE} {NO_STEPS} {'9' * 20} 1:30"),
    "train.batch_size": ("1 1000000", "0 1000001"),
    "train.optimizer": ("sgd adam rmsprop", "SGD adamw null [sgd]"),
    "train.learning_rate": (POSITIVE, DECIMAL),
    "train.schedule": ("constant linear cosine", "Linear step null"),
    "train.warmup": ("0 1000000000", WHOLE),
    "train.nesterov": ("true false", "1 0 yes null"),
    "train.weight_decay": AT_LEAST_ZERO,
    "train.max_norm": AT_LEAST_ZERO,
    "train.momentum": SHARE,
    "train.input_dropout": SHARE,
    "train.hidden_dropout": SHARE,
    "train.label_smoothing": SHARE,
    "train.patience": ("0 1000000000", WHOLE),
    "train.keep": ("last best", "first Best null"),
    "distort.rotation": ("0 45", "-1 45.1 .nan null"),
    "distort.shear": ("0 45", "-1 45.1"),
    "distort.scaling": ("0 50", "-1 50.1"),
    "distort.shift": ("0 100", "-1 100.1"),
    "distort.elastic": ("0 20", "-1 20.1"),
    "distort.smoothness": ("1 20", "0 0.9 20.1"),
    "plot.misclassified": ("1 100", "0 101"),
    "plot.dpi": ("50 300", "49 301"),
}


@pytest.mark.parametrize("key", RANGES)
def test_a_range_has_both_its_ends_and_nothing_beyond(write, refusal, key):
    section, name = key.split(".")
    right, wrong = RANGES[key]
    for text in right.split():
        value = attrgetter(key)(load_params(write(with_value(key, text))))
        shown = str(list(value) if isinstance(value, tuple) else value)
        assert re.sub("[ +]", "", shown).lower() in (text, f"{text}.0")
    without = VALUES[section].copy()
    del without[name]
    texts = [dump(VALUES | {section: without}), *(with_value(key, text) for text in wrong.split())]
    for error in map(refusal, texts):
        assert error.about == key
        assert SECTIONS[section].model_fields[name].description in str(error)


@pytest.mark.parametrize(
    ("text", "key", "suggestion"),
    [
        (GOOD.replace("learning_rate:", "lerning_rate:"), "train.lerning_rate", "learning_rate?"),
        (GOOD.replace("train:", "trian:"), "trian", " train?"),
        (GOOD + "x: 1\n", "x", f" {', '.join(SECTIONS)}."),
        (GOOD.replace("plot:", "plot:\n  x: 1"), "plot.x", " misclassified, dpi."),
    ],
)
def test_unknown_key_suggests_the_nearest(refusal, text, key, suggestion):
    error = refusal(text)
    assert error.about == key
    assert str(error).endswith(suggestion)


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("", ""),
        ("download: 5", "download"),
        ("a: 1\nb: 2\na: 3", "line 3"),
        ("a: !x {b: 1}", "line 1"),
        (LISTS, ""),
        (MERGED, ""),
        (with_value("train.hidden_sizes", "&a [*a]"), ""),
        (with_value("train.seed", f"0x{'9' * 5000}"), "train.seed"),
        ("".join(f"k{number}: 1\n" for number in range(20_000)), ""),
        (f"x: [{'1,' * 5_000_000}]", ""),
        (with_value("train.seed", "{2001-01-01: 1}"), "train.seed"),
        ("- " * 2_000, ""),
        ("a\x00", ""),
        ('"\\UFFFFFFFF"', ""),
        (b"\xff\xfe", ""),
        (GOOD.encode() + b"# \xff", ""),
        ('"a\\nb": 1', "a\nb"),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_hostile_files_are_one_sentence(refusal, text, about):
    begun = time.process_time()
    assert refusal(text).about == about
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        (20 * "[" + 20 * "]", 21 * "[" + 21 * "]"),
        (f"[{19_998 * '1,'}1]", f"[{19_999 * '1,'}1]"),
        (f"a: 1  #{99_993 * ' '}", f"a: 1  #{99_994 * ' '}"),
    ],
    ids=["depth", "values", "characters"],
)
def test_a_file_has_bounds(within, beyond):
    parse_plain_yaml(within)
    with pytest.raises(UserError, match="expected at most"):
        parse_plain_yaml(beyond)


def test_a_long_value_is_not_written_out_to_be_cut():
    with memory_below(40_000_000):
        assert show(4000 * ["a" * 80_000]) == '["' + "a" * 75 + "..."


SCALARS = """
    1 +1 -1 01 010 0o17 0x1F 0b11 1_000 50_000 1__0 _1 1_ 0x_1 1:30 1.5 1. .5 -.5 1_0.5 1e3 1e-3
    1E+3 1.5e3 1_0e1 .inf -.Inf .NAN nan inf 1e 0x 0o8 true True TRUE tRue yes no on off y n null
    Null ~ nULL none 2001-01-01 2001-01-01T00:00:00Z 2001-99-99 12:30 = << * &
    ! !!str !!int !!float abc '1' "1" "\\u0041" '' [] {} [1,2] {a:1} [a,,b] | > % @ ` # - ? : , é
    1,5 0.1.2 9999999999999999999
"""
TEXTS = ("{}", "a: {}", "{{a: {}}}", "- {}\n- 1", "{}: 1", "a: &x {}\nb: *x", "a: !!str {}")


def test_every_text_means_what_it_means_to_dvc():
    """DVC tells a changed parameter by its value, and writes values into dvc.lock."""
    both = [text.format(scalar) for text in TEXTS for scalar in SCALARS.split()]
    both += ["a: {<<: {b: 1}, c: 2}", "a: &x {b: 1}\nc: {<<: *x, b: 2}", "%YAML 1.1\n---\na: no"]
    both += ["a: 1\n---\nb: 2", "a: 1\na: 1", "\ufeffa: 1", "a: 1\r\nb: 2\r\n", "a:\t1", "\ta: 1"]
    read = 0
    for text in both:
        try:
            expected = repr(parse_yaml(text, "params.yaml"))
        except Exception:
            with pytest.raises(UserError):
                parse_plain_yaml(text)
        else:
            assert repr(parse_plain_yaml(text) or {}) == expected, text
            read += 1
    assert 300 < read < len(both)


@pytest.mark.parametrize(
    ("name", "given", "right", "wrong"),
    [
        ("nesterov", {"nesterov": True}, {"momentum": 0.1}, {"momentum": 0}),
        ("nesterov", {"optimizer": "adam"}, {"nesterov": False}, {"nesterov": True}),
        ("warmup", {"iterations": 70}, {"warmup": 70}, {"warmup": 71}),
    ],
)
def test_values_that_do_not_go_together_are_refused(write, name, given, right, wrong):
    right, wrong = ({"train": VALUES["train"] | given | values} for values in (right, wrong))
    load_params(write(dump(VALUES | right)))
    assert refused(load_params, write(dump(VALUES | wrong))).about == f"train.{name}"


def test_a_file_replaces_values_of_its_base(tmp_path, write):
    good = load_params(write(GOOD))
    text = "base: params.yaml\nrecord: 5\ntrain: {seed: 7, hidden_sizes: [3]}\n"
    (tmp_path / "based.yaml").write_text(text)
    train = good.train.model_copy(update={"seed": 7, "hidden_sizes": (3,)})
    assert load_params(tmp_path / "based.yaml") == good.model_copy(update={"train": train})


NO_NAMES = ("5", "null", "''", '"a\\0"', "[]")
WRONG_BASES = [(f"base: {base}", ["based.yaml", "name of"]) for base in NO_NAMES]
WRONG_BASES += [(f"base: {name}", [f"/{name}: "]) for name in ("absent", "empty", "list", "text")]
WRONG_BASES += [(f"base: {'a' * 101}", ["based.yaml", "aaa..."]), ("base: .", ["directory"])]
WRONG_KEY = "base: params.yaml\ntrain: {sed: 7}", ["based.yaml", "train.sed", "train.seed"]


@pytest.mark.parametrize(("text", "words"), [*WRONG_BASES, WRONG_KEY])
def test_a_wrong_base_is_one_sentence(tmp_path, write, text, words):
    write(GOOD)
    for name, content in {"empty": "", "list": "[1]", "text": "a", "based.yaml": text}.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as caught:
        load_params(tmp_path / "based.yaml")
    assert all(word in str(caught.value) for word in words)
    assert len(str(caught.value)) < 300
