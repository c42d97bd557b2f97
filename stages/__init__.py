"""The five stages of the pipeline, each a command."""

import pipeline.program.start  # noqa: F401
