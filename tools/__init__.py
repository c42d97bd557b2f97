"""Commands for people at a terminal. No stage uses them: `python -m tools.predict --help`."""

import pipeline.program.start  # noqa: F401
