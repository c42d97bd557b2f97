"""The trained network as an ONNX file, for other programs."""
