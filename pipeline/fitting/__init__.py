"""What the train stage needs beside `mlp`: methods from parameters, epochs, checkpoints."""
