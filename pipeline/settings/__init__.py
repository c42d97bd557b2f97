"""The settings: `params.yaml` and `datasets.yaml`, read and checked."""
