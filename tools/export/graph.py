"""The forward pass of mlp/network.py as an ONNX graph, from bytes to probabilities."""

import json
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mlp.arithmetic import operand_bits
from mlp.network import MLP

OPSET, IR_VERSION = 17, 8  # of 2022: onnxruntime 1.12 and newer read them
OPERATORS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}


def onnx_model(network: MLP, md5: str) -> onnx.ModelProto:
    """Return the network as an ONNX model, checked by onnx; `md5`, its file's, is in the metadata.

    It computes in the arithmetic's type. The weights are rounded as the forward pass rounds them.

    Raises:
        FloatingPointError: a weight is too large to compute with.
    """
    A, preparation = network.arithmetic, network.preparation
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(A.dtype))
    constants: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value: np.ndarray | float) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, A.dtype), name))
        return name

    def node(operator: str, *inputs: str, output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    X = node("Cast", node("Flatten", "images", output="bytes"), output="numbers", to=kind)
    h = node("Sub", X, constant("shift", preparation.shift), output="inputs_1")
    outputs = [f"sums_{layer}" for layer in range(1, len(network.weights))] + ["logits"]
    for layer, (W, b) in enumerate(zip(network.weights, network.biases, strict=True), 1):
        W = A.grid(W, operand_bits(len(W)))
        a = node("MatMul", h, constant(f"weights_{layer}", W), output=f"products_{layer}")
        if layer == 1:  # (scale X) W = scale (X W)
            a = node("Mul", a, constant("scale", preparation.scale), output="scaled")
        a = node("Add", a, constant(f"biases_{layer}", b), output=outputs[layer - 1])
        if a != "logits":
            h = node(OPERATORS[network.activation.name], a, output=f"inputs_{layer + 1}")
    node("Softmax", "logits", output="probabilities", axis=1)

    info, uint8 = helper.make_tensor_value_info, onnx.TensorProto.UINT8
    images = info("images", uint8, ["batch", *preparation.image_shape])
    probabilities = info("probabilities", kind, ["batch", len(preparation.classes)])
    graph = helper.make_graph(nodes, "mlp", [images], [probabilities], constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opsets)
    class_names = json.dumps(preparation.classes, ensure_ascii=False)
    shape = json.dumps(preparation.image_shape)
    helper.set_model_props(model, {"classes": class_names, "image_shape": shape, "model_md5": md5})
    onnx.checker.check_model(model, full_check=True)
    return model
