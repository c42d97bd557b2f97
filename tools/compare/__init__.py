"""Settings compared over several seeds: `python -m tools.compare`."""
