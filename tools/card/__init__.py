"""The model card, and the picture of the curves in README.md."""
