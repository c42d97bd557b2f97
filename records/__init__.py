"""Published results of multi-layer perceptrons, trained again.

`dvc.yaml` in this folder says how.
"""

import pipeline.program.start  # noqa: F401
