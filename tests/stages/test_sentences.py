"""How errors read: one sentence of each kind, as a user sees it. Other tests look at fields, so change words here."""

from pathlib import Path

import pytest
import yaml

from mlp.training import DivergedError
from pipeline.fetching.fetch import fetch
from pipeline.fitting.fit import failures_explained
from pipeline.images.idx import read_images
from pipeline.program.errors import UserError
from pipeline.settings.datasets import load_dataset
from pipeline.settings.params import load_params
from pipeline.store.arrays import load_arrays
from tests.support.mirrors import write_datasets
from tests.support.project import PLAIN, changed_params


def with_text(name: str, text: str) -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def with_train(**values: object) -> Path:
    params = changed_params(PLAIN)
    return with_text("params.yaml", yaml.safe_dump(params | {"train": params["train"] | values}))


def fetch_from_nowhere() -> None:
    dataset = load_dataset(write_datasets(Path(), ["gone"]), "tiny")
    fetch(dataset.by_name(), dataset.mirrors, Path("raw"))


def diverge() -> None:
    path = with_train(weight_init_std=1e200)
    with failures_explained(load_params(path).train, path):
        raise DivergedError(1, 1)


SENTENCES = {
    "value": (
        lambda: load_params(with_train(seed=-1)),
        "params.yaml: train.seed is -1; expected a whole number from 0 to 4294967295, without point or exponent.",
    ),
    "key that is misspelt": (
        lambda: load_params(with_train(sed=0)),
        "params.yaml: unknown key train.sed; did you mean train.seed?",
    ),
    "no mirror": (
        fetch_from_nowhere,
        "no mirror gave train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, "
        "t10k-labels-idx1-ubyte:\n"
        "  gone: no such folder (train-images-idx3-ubyte)\n"
        "Set DATA_MIRROR to a folder or web address that has the files.",
    ),
    "IDX header": (
        lambda: read_images(with_text("train-images", "<html>")),
        "train-images: expected the first bytes 00 00 08 03 of an IDX file of bytes in 3-D, found 3c 68 74 6d.",
    ),
    "array file that is damaged": (
        lambda: load_arrays(with_text("mlp.npz", "<html>")),
        "mlp.npz: not an array file of this pipeline (File is not a zip file); run `make check`, then `dvc repro`, to "
        "make it again.",
    ),
    "training that diverges": (
        diverge,
        "training diverged: at step 1 the numbers of layer 1 are no longer finite; lower train.learning_rate (now "
        "1.0), or choose a smaller train.weight_init_std (now 1e+200), in params.yaml. No model was written.",
    ),
}


@pytest.mark.parametrize(("mistake", "sentence"), SENTENCES.values(), ids=list(SENTENCES))
def test_sentence(tmp_path, monkeypatch, mistake, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        mistake()
    assert str(caught.value) == sentence
