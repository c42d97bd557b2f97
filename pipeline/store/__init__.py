"""The files between the stages: arrays, models, tables."""
