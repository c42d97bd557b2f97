import pipeline.program.start  # noqa: F401
