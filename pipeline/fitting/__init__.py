"""What the train stage does around the network's training: the method from the parameters, the
epochs, checkpoints.
"""
