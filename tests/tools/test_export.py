"""The exported ONNX file, run by onnxruntime, gives the network's classes and probabilities."""

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mlp.prediction import predict
from mlp.protocol import Network
from pipeline.images.idx import read_images
from pipeline.store.artifacts import load_model, save_model
from tests.support.networks import MINMAX, ZSCORE, digits, new_network, run
from tests.support.project import ROOT
from tests.support.refusals import refusal
from tools.export.__main__ import main

ONNX = Path("model.onnx")


@pytest.fixture
def export(tmp_path, monkeypatch):
    """A function that saves a network as mlp.npz and exports it as ONNX, in the current folder."""
    # CI installs it
    pytest.importorskip("onnxruntime", reason="tools/export/requirements.txt is not installed")
    monkeypatch.chdir(tmp_path)

    def exported(network: Network, output: Path = ONNX):
        save_model(Path("mlp.npz"), network)
        return CliRunner().invoke(main, [str(output), "--model", "mlp.npz"])

    return exported


def session():
    import onnxruntime

    return onnxruntime.InferenceSession(ONNX, providers=["CPUExecutionProvider"])


def difference(network: Network, images: np.ndarray) -> float:
    """Return the largest difference of a probability for images. All classes must be the same."""
    (found,) = session().run(["probabilities"], {"images": images})
    expected, _ = predict(network, images.reshape(len(images), -1))
    assert found.shape == expected.shape
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
    return float(np.abs(found - expected).max())


TANH = {"activation": "tanh", "hidden": (40, 30), "preparation": ZSCORE}
RELU = {"activation": "relu", "hidden": (40, 30, 20), "arithmetic": "float32"}


@pytest.mark.parametrize("settings", [TANH, RELU, {"hidden": ()}], ids=["tanh", "relu", "none"])
def test_same_classes_and_probabilities(export, settings):
    network = new_network(**{"std": "he"} | settings)
    run(network, iterations=60, learning_rate=0.3)
    images = digits("test").images
    assert export(network).exit_code == 0
    assert difference(network, images.reshape(-1, 28, 28)) < 1e-5


def test_any_number_of_images_of_another_shape_and_other_classes(export):
    preparation = replace(MINMAX, image_shape=(20, 12), classes=("T-shirt/top", "신발", 'a "bag"'))
    network = new_network(preparation=preparation, std=0.3)
    images = np.random.default_rng(0).integers(0, 256, (50, 20, 12), np.uint8)
    assert export(network).exit_code == 0
    assert all(difference(network, images[:count]) < 1e-5 for count in (1, 50))
    metadata = session().get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == list(preparation.classes)
    assert json.loads(metadata["image_shape"]) == [20, 12]
    assert metadata["model_md5"] == hashlib.md5(Path("mlp.npz").read_bytes()).hexdigest()


def test_the_same_network_gives_the_same_bytes_and_the_example_on_the_page_runs(export):
    for output in (ONNX, Path("again.onnx")):
        assert export(new_network(hidden=(20,)), output).exit_code == 0
    assert ONNX.read_bytes() == Path("again.onnx").read_bytes()
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    printed = subprocess.check_output([sys.executable, "-c", example], text=True)
    assert printed.strip() in MINMAX.classes


def test_refused_export_leaves_the_files_as_they_are(export, monkeypatch):
    network = new_network(hidden=(20,))
    network.weights[0][0, 0] = 1e200
    assert "its weights are too large" in refusal(export(network), "mlp.npz")
    before = Path("mlp.npz").read_bytes()
    refusal(export(network, Path("mlp.npz")), "mlp.npz", "given twice")
    assert not ONNX.exists()
    assert Path("mlp.npz").read_bytes() == before
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "tools/export/requirements.txt" in refusal(export(network))


@pytest.mark.slow
@pytest.mark.committed
def test_committed_model_on_all_test_images(export):
    """docs/export.md states the bound. `make repro` has made the model and the data."""
    network = load_model(ROOT / "models" / "mlp.npz")
    assert export(network).exit_code == 0
    images = read_images(ROOT / "data" / "raw" / "t10k-images-idx3-ubyte")[:]
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (bound,) = re.findall(r"differ by less than (\S+)\.", page)
    assert difference(network, images) < float(bound)
