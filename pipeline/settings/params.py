"""The parameters of `params.yaml`. No key has a default: DVC tracks only what the file has."""

from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline.program.errors import UserError, is_name
from pipeline.settings.checked import Section, check, load_plain_yaml, show


def _whole(low: int, high: int) -> Any:
    expected = f"a whole number from {low} to {high}, without point or exponent"
    return Field(ge=low, le=high, description=expected)


def _number(low: float, high: float) -> Any:
    return Field(ge=low, le=high, description=f"a number from {low} to {high}")


def _expected(description: str) -> Any:
    return Field(description=description)


AboveZero = Annotated[float, Field(gt=0, lt=inf, description="a finite number above 0")]
AtLeastZero = Annotated[float, Field(ge=0, lt=inf, description="a finite number, 0 or more")]
Share = Annotated[float, Field(ge=0, lt=1, description="a number, at least 0 and below 1")]
Rule = Literal["glorot", "he"]
Width = Annotated[int, Field(ge=1, le=65_536)]
WIDTHS = "a list of at most 16 whole numbers from 1 to 65536, such as [50]"


class Download(Section):
    """What the download stage reads."""

    dataset: str = Field(min_length=1, max_length=100, description="a dataset's name as text")


class Preprocess(Section):
    """What the preprocess stage reads."""

    scaling: Literal["none", "minmax", "zscore"] = _expected("none, minmax or zscore")
    validation_size: int = _whole(1, 10**9)
    seed: int = _whole(0, 2**32 - 1)


class Train(Section):
    """What the train stage reads."""

    hidden_sizes: tuple[Width, ...] = Field(strict=False, max_length=16, description=WIDTHS)
    activation: Literal["sigmoid", "tanh", "relu"] = _expected("sigmoid, tanh or relu")
    weight_init_std: AboveZero | Rule = _expected("glorot, he, or a finite number above 0")
    arithmetic: Literal["exact", "float32"] = _expected("exact or float32")
    seed: int = _whole(0, 2**32 - 1)
    iterations: int = _whole(1, 10**9)
    batch_size: int = _whole(1, 10**6)
    optimizer: Literal["sgd", "adam", "rmsprop"] = _expected("sgd, adam or rmsprop")
    learning_rate: AboveZero
    schedule: Literal["constant", "linear", "cosine"] = _expected("constant, linear or cosine")
    warmup: int = _whole(0, 10**9)
    momentum: Share
    nesterov: bool = _expected("true or false")
    weight_decay: AtLeastZero
    max_norm: AtLeastZero
    input_dropout: Share
    hidden_dropout: Share
    label_smoothing: Share
    patience: int = _whole(0, 10**9)
    keep: Literal["last", "best"] = _expected("last or best")

    # Two rules are about an earlier parameter, too. It is absent if it is wrong itself.

    @field_validator("warmup")
    @classmethod
    def _is_within_the_iterations(cls, warmup: int, info: ValidationInfo) -> int:
        if warmup > (most := info.data.get("iterations", warmup)):
            raise ValueError(f"{most} or less, as many as train.iterations")
        return warmup

    @field_validator("nesterov")
    @classmethod
    def _has_momentum(cls, nesterov: bool, info: ValidationInfo) -> bool:
        optimizer, momentum = info.data.get("optimizer", "sgd"), info.data.get("momentum", 1)
        if nesterov and (optimizer != "sgd" or momentum == 0):
            found = f"found {optimizer} and {momentum}"
            raise ValueError(f"train.optimizer sgd and train.momentum above 0 with it, {found}")
        return nesterov


class Distort(Section):
    """What the train stage does to its images, and the plot stage shows."""

    rotation: float = _number(0, 45)
    shear: float = _number(0, 45)
    scaling: float = _number(0, 50)
    shift: float = _number(0, 100)
    elastic: float = _number(0, 20)
    smoothness: float = _number(1, 20)


class Plot(Section):
    """What the plot stage reads."""

    misclassified: int = _whole(1, 100)
    dpi: int = _whole(50, 300)


class Params(Section):
    """All of a parameter file."""

    download: Download
    preprocess: Preprocess
    train: Train
    distort: Distort
    plot: Plot


def load_params(path: Path) -> Params:
    """Read and check a parameter file: see `read_values`. Errors are those of `check`."""
    return check(path, Params, read_values(path))


def read_values(path: Path) -> Any:
    """Return the values of a parameter file, unchecked.

    Its key `base`, if it has one, names a file beside it, which has the values that `path` lacks.
    Then the key `record` is about a result, and no parameter.
    """
    values = load_plain_yaml(path)
    if not isinstance(values, dict) or "base" not in values:
        return values
    values.pop("record", None)
    base = values.pop("base")
    if not isinstance(base, str) or not is_name(base):
        expected = "the name of a parameter file beside this one"
        raise UserError(f"{path}: base is {show(base)}; expected {expected}.")
    merged = load_plain_yaml(path.parent / base)
    if not isinstance(merged, dict):
        found = f"the file is {show(merged)}; expected sections, as in params.yaml"
        raise UserError(f"{path.parent / base}: {found}.")
    for section, own in values.items():
        there = merged.get(section)
        merged[section] = there | own if isinstance(there, dict) and isinstance(own, dict) else own
    return merged
