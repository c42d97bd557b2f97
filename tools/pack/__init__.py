"""Your own pictures as a dataset of the pipeline."""
