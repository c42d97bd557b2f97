"""The library as others call it: what it refuses, and the classifier."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import mlp
from mlp.arithmetic import ARITHMETICS
from mlp.distortions import Distortion, Strength
from mlp.layers import Activation
from mlp.regularization import Dropout
from tests.support.networks import MINMAX, bits, digits, method, new_network, run, some_digits

IMAGES, LABELS = some_digits(0, 20)
WRONG = {
    "shift of no 256th": lambda: replace(MINMAX, shift=0.3),
    "shift beyond a byte": lambda: replace(MINMAX, shift=256.0),
    "shift that is no number": lambda: replace(MINMAX, shift=math.nan),
    "scale of 0": lambda: replace(MINMAX, scale=0.0),
    "scale that is infinite": lambda: replace(MINMAX, scale=math.inf),
    "image without rows": lambda: replace(MINMAX, image_shape=(0, 28)),
    "images between 0 and 1": lambda: mlp.predict(new_network(), IMAGES / 255),
    "images of another size": lambda: mlp.predict(new_network(), IMAGES[:, 1:]),
    "images of a step between 0 and 1": lambda: new_network().gradients(IMAGES / 255, LABELS),
    "fewer labels": lambda: mlp.measure(new_network(), mlp.Split(IMAGES, LABELS[:10])),
    "no images": lambda: mlp.measure(new_network(), mlp.Split(IMAGES[:0], LABELS[:0])),
    "labels as numbers": lambda: mlp.measure(new_network(), mlp.Split(IMAGES, LABELS.argmax(1))),
    "std by an unknown name": lambda: new_network(std="xavier"),
    "std of 0": lambda: new_network(std=0.0),
    "unknown activation": lambda: new_network(activation="softplus"),
    "unknown arithmetic": lambda: new_network("float16"),
    "layer of no neurons": lambda: new_network(hidden=[0]),
    "unknown schedule": lambda: mlp.Schedule(0.1, "cosin"),
    "negative rate": lambda: mlp.Schedule(-0.1),
    "momentum of 1": lambda: mlp.SGD(1.0),
    "beta of 1": lambda: mlp.Adam(0.9, 1.0),
    "negative decay": lambda: mlp.Optimizer(mlp.Schedule(0.1), weight_decay=-0.1),
    "negative bound": lambda: mlp.Optimizer(mlp.Schedule(0.1), max_norm=-1.0),
    "dropout of all": lambda: Dropout(0.0, 1.0),
    "labels that say nothing": lambda: method(10, label_smoothing=1.0),
    "batches of no images": lambda: method(10, 0),
    "grid of 52 bits": lambda: ARITHMETICS["exact"].grid(np.ones(3), 52),
    "activation beyond its bound": lambda: Activation("x", lambda A, x: 2 * x, np.ones_like, 9),
    "angle beyond 45 degrees": lambda: Distortion((28, 28), Strength(0, 50.0, 0, 0, 0, 6.0)),
    "bumps of no width": lambda: Distortion((28, 28), Strength(0, 0, 0, 0, 1.0, 0.0)),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_what_would_cost_exactness_or_sense_is_one_sentence(call):
    with pytest.raises(ValueError, match=r"^[^\n]{10,200}$"):
        call()


def test_a_network_is_shown_by_its_sizes():
    assert repr(new_network(hidden=[50, 30])) == "MLP(784-50-30-10, sigmoid, exact)"


@pytest.mark.skipif(sys.platform != "linux", reason="the modes are those of the GNU C library")
@pytest.mark.parametrize("mode", [0x400, 0x800, 0xC00], ids=["down", "up", "towards 0"])
def test_other_rounding_modes_are_refused(mode):
    code = "import ctypes, mlp.arithmetic as a; a.check_float_environment();"
    code += f"ctypes.CDLL('libm.so.6').fesetround({mode}); a.check_float_environment()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ArithmeticError: this process does not round numbers to the nearest" in done.stderr


# The classifier


def test_the_classifier_has_the_bits_of_train():
    images, labels = digits("train")
    names = np.array(list("abcdefghij"))
    found = mlp.Classifier(hidden_sizes=[20], epochs=3, seed=5)
    assert found.fit(images, names[labels.argmax(axis=1)]) is found
    network = new_network("exact", [20], "sigmoid", "glorot", replace(MINMAX), 5)
    run(network, 18, 100, 0.5, 5, digits("train"))
    assert bits(found.network_) == bits(network)

    test, right = digits("test")
    probabilities = found.predict_proba(test)
    assert probabilities.tobytes() == mlp.predict(network, test)[0].tobytes()
    predicted = names[probabilities.argmax(axis=1)]
    assert found.predict(test).tolist() == predicted.tolist()
    expected = (predicted == names[right.argmax(axis=1)]).mean()
    assert found.score(test, names[right.argmax(axis=1)]) == expected > 0.5


def test_the_classifier_can_be_copied_by_its_arguments():
    one = mlp.Classifier(hidden_sizes=[3], learning_rate=0.1)
    assert mlp.Classifier(**one.get_params()).get_params() == one.get_params()
    assert one.set_params(epochs=2).get_params() == one.get_params() | {"epochs": 2}
