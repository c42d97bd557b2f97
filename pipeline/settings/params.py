"""The knobs of `params.yaml`: their types and ranges, in one place."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.program.errors import UserError, clip
from pipeline.settings.plain_yaml import load_plain_yaml


def _whole(low: int, high: int) -> Any:
    return Field(ge=low, le=high, description=f"a whole number from {low} to {high}, without point or exponent")


def _above_zero() -> Any:
    return Field(gt=0, allow_inf_nan=False, description="a finite number above 0")


class Section(BaseModel):
    """A mapping in `params.yaml`. No key has a default here: DVC tracks only what stands in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


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
    iterations: int = _whole(1, 10**9)
    batch_size: int = _whole(1, 10**6)
    learning_rate: float = _above_zero()
    weight_init_std: float = _above_zero()
    arithmetic: Literal["exact", "float32"] = Field(description="exact or float32")
    seed: int = _whole(0, 2**32 - 1)


class Plot(Section):
    """What the plot stage reads."""

    misclassified: int = _whole(1, 100)
    dpi: int = _whole(50, 300)


class Params(Section):
    """All of `params.yaml`."""

    download: Download
    preprocess: Preprocess
    train: Train
    plot: Plot


SECTIONS: dict[str, type[Section]] = {
    "download": Download,
    "preprocess": Preprocess,
    "train": Train,
    "plot": Plot,
}


def load_params(path: Path) -> Params:
    """Read and check a parameter file.

    Raises:
        UserError: the file is missing or is not plain YAML, or a key is unknown, missing, of the wrong type or out
            of range. The sentence names the key, what was found and what is expected.
    """
    values = load_plain_yaml(path)
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        # A misspelt key is both unknown and missing: the first says more.
        problem = min(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    raise UserError(f"{path}: {_sentence(problem, values)}")


def _sentence(problem: Any, values: Any) -> str:
    """Say what is wrong with the parameters `values`, in which pydantic found `problem`."""
    if not isinstance(values, dict):
        return f"expected the sections {', '.join(SECTIONS)}, found {_show(values)}."
    if problem["type"] == "extra_forbidden":
        *section, name = problem["loc"]
        return f"unknown key {clip('.'.join(problem['loc']))}; {_suggestion(*section, name=name)}"
    section, *rest = problem["loc"]
    key = ".".join([section, *rest[:1]])  # a place inside a list is left out: the list is shown whole
    expected = SECTIONS[section].model_fields[rest[0]].description if rest else "a section with its keys"
    if problem["type"] == "missing":
        return f"the key {key} is missing; expected {expected}."
    found = values[section][rest[0]] if rest else values[section]
    return f"{key} is {_show(found)}; expected {expected}."


def _suggestion(section: str | None = None, *, name: str) -> str:
    """Name the known key nearest to the unknown key `name`: in its own section, or at the top, first; then in any."""
    own = list(SECTIONS[section].model_fields if section else SECTIONS)
    if near := difflib.get_close_matches(name, own, n=1):
        return f"did you mean {section}.{near[0]}?" if section else f"did you mean {near[0]}?"
    homes = {key: home for home, model in SECTIONS.items() for key in model.model_fields}
    if near := difflib.get_close_matches(name.rpartition(".")[2], homes, n=1):
        return f"did you mean {homes[near[0]]}.{near[0]}?"
    return f"known {f'in {section}' if section else 'sections'} are {', '.join(own)}."


def _show(value: Any) -> str:
    """Write a value of the file for a sentence, cut short when long."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, tuple):
        return clip(f"[{', '.join(_show(item) for item in value[:20])}]")
    if isinstance(value, str):
        return f"the text {clip(repr(value))}"
    return "empty" if value is None else str(value).lower()
