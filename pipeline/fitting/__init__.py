"""What the train stage does around training: the method, the epochs, checkpoints."""
