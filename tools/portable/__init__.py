"""Does the pipeline write the same bytes elsewhere? `python -m tools.portable` tries it."""
