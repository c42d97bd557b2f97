"""The exported ONNX file, run by onnxruntime, gives the network's classes and probabilities."""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from mlp.network import Network, predict
from pipeline.images.idx import read_images
from pipeline.store.artifacts import load_model, save_model
from tests.support.networks import MINMAX, ZSCORE, digits, new_network, run
from tests.support.project import ROOT
from tests.support.refusals import refusal
from tools.export.__main__ import main

# Continuous integration installs it
needs_onnx = pytest.mark.skipif(
    not importlib.util.find_spec("onnxruntime"), reason="tools/export/requirements.txt is not installed"
)


@pytest.fixture
def export(tmp_path):
    """A function that saves a network, exports it, and returns the path of the ONNX file."""

    def exported(network: Network):
        save_model(tmp_path / "mlp.npz", network)
        output = tmp_path / "model.onnx"
        result = CliRunner().invoke(main, [str(output), "--model", str(tmp_path / "mlp.npz")])
        assert result.exit_code == 0, result.output
        return output

    return exported


def session(path):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def difference(path, network: Network, images: np.ndarray) -> float:
    """Return the largest difference of a probability for images, (n, rows, columns). All classes must be the same."""
    (found,) = session(path).run(["probabilities"], {"images": images})
    expected, _ = predict(network, images.reshape(len(images), -1))
    assert found.shape == expected.shape
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
    return float(np.abs(found - expected).max())


NETWORKS = {
    "sigmoid": {"std": "glorot"},
    "tanh, two hidden layers, zscore": {"activation": "tanh", "hidden": (40, 30), "preparation": ZSCORE},
    "relu, three hidden layers, float32": {"activation": "relu", "hidden": (40, 30, 20), "arithmetic": "float32"},
    "no hidden layer": {"hidden": ()},
}


@needs_onnx
@pytest.mark.parametrize("settings", NETWORKS.values(), ids=NETWORKS)
def test_same_classes_and_probabilities(export, settings):
    network = new_network(**{"std": "he"} | settings)
    run(network, iterations=60, learning_rate=0.3)
    images = digits("test").images
    accuracy = (predict(network, images)[0].argmax(axis=1) == digits("test").labels.argmax(axis=1)).mean()
    assert accuracy > 0.7, "the network has learnt something, so that the classes differ"
    assert difference(export(network), network, images.reshape(-1, 28, 28)) < 1e-5


@needs_onnx
def test_any_number_of_images_of_another_shape_and_other_classes(export):
    preparation = MINMAX._replace(image_shape=(20, 12), classes=("T-shirt/top", "신발", 'a "bag"'))
    network = new_network(preparation=preparation, std=0.3)
    images = np.random.default_rng(0).integers(0, 256, (50, 20, 12), np.uint8)
    path = export(network)
    assert all(difference(path, network, images[:count]) < 1e-5 for count in (1, 50))
    assert session(path).run(None, {"images": images[:0]})[0].shape == (0, 3)
    metadata = session(path).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == list(preparation.classes)
    assert json.loads(metadata["image_shape"]) == [20, 12]
    assert metadata["model_md5"] == hashlib.md5(path.with_name("mlp.npz").read_bytes()).hexdigest()


@needs_onnx
def test_same_network_gives_the_same_bytes(export, tmp_path):
    """Also in another process, with another order of sets."""
    content = export(new_network(hidden=(20,))).read_bytes()
    command = [sys.executable, "-m", "tools.export", str(tmp_path / "again.onnx"), "--model", str(tmp_path / "mlp.npz")]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "1"}, check=True, capture_output=True)
    assert (tmp_path / "again.onnx").read_bytes() == content


@needs_onnx
def test_refused_export_leaves_the_files_as_they_are(tmp_path):
    network = new_network(hidden=(20,))
    network.weights[0][0, 0] = 1e200
    model, output = tmp_path / "mlp.npz", tmp_path / "model.onnx"
    save_model(model, network)
    before = model.read_bytes()
    assert "its weights are too large" in refusal(CliRunner().invoke(main, [str(output), "--model", str(model)]), model)
    refusal(CliRunner().invoke(main, [str(model), "--model", str(model)]), model, "given twice")
    assert not output.exists()
    assert model.read_bytes() == before


@needs_onnx
def test_example_on_the_page_runs(export, tmp_path):
    export(new_network())
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    result = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.strip() in MINMAX.classes


def test_missing_package_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    output = tmp_path / "model.onnx"
    assert "tools/export/requirements.txt" in refusal(CliRunner().invoke(main, [str(output)]))
    assert not output.exists()


@pytest.mark.slow
def test_committed_model_on_all_test_images(tmp_path):
    """docs/export.md states the bound. `make repro` has made the model and the data."""
    model, output = ROOT / "models" / "mlp.npz", tmp_path / "model.onnx"
    result = CliRunner().invoke(main, [str(output), "--model", str(model)])
    assert result.exit_code == 0, f"run `make repro` and install onnx first: {result.output}"
    images = read_images(ROOT / "data" / "raw" / "t10k-images-idx3-ubyte")[:]
    assert len(images) == 10_000
    (bound,) = re.findall(r"differ by less than (\S+)\.", (ROOT / "docs" / "export.md").read_text(encoding="utf-8"))
    assert difference(output, load_model(model), images) < float(bound)
