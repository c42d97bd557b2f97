"""A multi-layer perceptron, and its training, in NumPy alone."""
