"""The parameters of `params.yaml`: their types and ranges, in one place."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.program.errors import UserError
from pipeline.settings.checked import Section, check, show
from pipeline.settings.plain_yaml import load_plain_yaml, parse_plain_yaml

# No key has a default here: DVC tracks only what stands in the file.


def _whole(low: int, high: int) -> Any:
    return Field(ge=low, le=high, description=f"a whole number from {low} to {high}, without point or exponent")


def _above_zero() -> Any:
    return Field(gt=0, allow_inf_nan=False, description="a finite number above 0")


def _at_least_zero() -> Any:
    return Field(ge=0, allow_inf_nan=False, description="a finite number, 0 or more")


def _number(low: float, high: float) -> Any:
    return Field(ge=low, le=high, description=f"a number from {low} to {high}")


def _share() -> Any:
    return Field(ge=0, lt=1, description="a number, at least 0 and below 1")


class Download(Section):
    """What the download stage reads."""

    dataset: str = Field(min_length=1, max_length=100, description="a dataset's name as text")


class Preprocess(Section):
    """What the preprocess stage reads."""

    scaling: Literal["none", "minmax", "zscore"] = Field(description="none, minmax or zscore")
    validation_size: int = _whole(1, 10**9)
    seed: int = _whole(0, 2**32 - 1)


class Train(Section):
    """What the train stage reads."""

    hidden_sizes: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field(
        max_length=16, description="a list of at most 16 whole numbers from 1 to 65536, such as [50] or []"
    )
    activation: Literal["sigmoid", "tanh", "relu"] = Field(description="sigmoid, tanh or relu")
    weight_init_std: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["glorot", "he"] = Field(
        description="glorot, he, or a finite number above 0"
    )
    arithmetic: Literal["exact", "float32"] = Field(description="exact or float32")
    seed: int = _whole(0, 2**32 - 1)
    iterations: int = _whole(1, 10**9)
    batch_size: int = _whole(1, 10**6)
    optimizer: Literal["sgd", "adam"] = Field(description="sgd or adam")
    learning_rate: float = _above_zero()
    schedule: Literal["constant", "linear", "cosine"] = Field(description="constant, linear or cosine")
    warmup: int = _whole(0, 10**9)
    momentum: float = _share()
    nesterov: bool = Field(description="true or false")
    weight_decay: float = _at_least_zero()
    max_norm: float = _at_least_zero()
    input_dropout: float = _share()
    hidden_dropout: float = _share()
    patience: int = _whole(0, 10**9)
    keep: Literal["last", "best"] = Field(description="last or best")


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


def load_params(path: Path, changes: Iterable[str] = ()) -> Params:
    """Read and check a parameter file.

    Args:
        path: the file. Its key `base`, if it has one, names another file beside it: that file's values, with the values
            of `path` in their places, are the parameters. Its key `record` is about a result, and no parameter.
        changes: values to use instead of the file's, such as "train.seed=3". The value is YAML.

    Raises:
        UserError: the file is missing or is not YAML, or a key is unknown, missing, of the wrong type or out of range;
            or two values do not go together. The sentence names the file or the change, the key, the value found and
            what is expected.
    """
    values = _with_base(path)
    changed = {}
    for change in changes:
        parts = re.fullmatch(r"(\w+)\.(\w+)=(.+)", change)
        if not parts:
            raise UserError(f"-S is {show(change)}; expected SECTION.KEY=VALUE, such as train.seed=3.")
        section, key, text = parts.groups()
        if isinstance(values, dict) and isinstance(values.get(section, {}), dict):
            try:
                values.setdefault(section, {})[key] = parse_plain_yaml(text)
                changed[f"{section}.{key}"] = change
            except UserError as error:
                raise UserError(f"-S is {show(change)}: {error}.") from None
    try:
        params = check(path, Params, values)
        _check_together(path, params.train)
    except UserError as error:
        for key, change in changed.items():
            if error.about in (key, key.partition(".")[0]):
                sentence = str(error).removeprefix(f"{path}: ")
                raise UserError(f"-S is {show(change)}: {sentence}", about=error.about) from None
        raise
    return params


def _check_together(path: Path, train: Train) -> None:
    """Check the rules about two parameters."""
    if train.nesterov and (train.optimizer == "adam" or train.momentum == 0.0):
        raise UserError(
            f"{path}: train.nesterov is true, which is a form of sgd's momentum; expected train.optimizer sgd and "
            f"train.momentum above 0 with it, found {train.optimizer} and {train.momentum}.",
            path=path,
            about="train.nesterov",
        )
    if train.warmup > train.iterations:
        raise UserError(
            f"{path}: train.warmup is {train.warmup}, more than all {train.iterations} iterations; expected "
            f"{train.iterations} or less.",
            path=path,
            about="train.warmup",
        )


def _with_base(path: Path) -> Any:
    """Return the values of a parameter file in the places of those of its base, if it has one."""
    values = load_plain_yaml(path)
    if not isinstance(values, dict) or "base" not in values:
        return values
    values.pop("record", None)
    if not isinstance(name := values.pop("base"), str):
        sentence = f"{path}: base is {show(name)}; expected the name of a file beside it."
        raise UserError(sentence, path=path, about="base")
    merged = load_plain_yaml(path.parent / name)
    if not isinstance(merged, dict):
        return merged  # no parameters, as `check` says
    for section, own in values.items():
        there = merged.get(section)
        merged[section] = there | own if isinstance(there, dict) and isinstance(own, dict) else own
    return merged
