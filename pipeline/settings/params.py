"""The knobs of `params.yaml`: their types and ranges, in one place."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.settings.checked import Section, check
from pipeline.settings.plain_yaml import load_plain_yaml

# No key has a default here: DVC tracks only what stands in the file.


def _whole(low: int, high: int) -> Any:
    return Field(ge=low, le=high, description=f"a whole number from {low} to {high}, without point or exponent")


def _above_zero() -> Any:
    return Field(gt=0, allow_inf_nan=False, description="a finite number above 0")


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


def load_params(path: Path) -> Params:
    """Read and check a parameter file.

    Raises:
        UserError: the file is missing or is not YAML, or a key is unknown, missing, of the wrong type or out of range.
            The sentence names the key, the value found and what is expected.
    """
    return check(path, Params, load_plain_yaml(path))
