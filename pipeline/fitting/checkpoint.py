"""A file with the state of a training, so that a killed training can continue.

The file belongs to one code, one data, one set of parameters, one NumPy, and for float32 one
machine. A training with anything else begins at its beginning. So the result has the bytes of a
training that nothing disturbed.
"""

import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlp.prediction import Score
from mlp.training import Best, Epoch, State
from pipeline.program.errors import note
from pipeline.program.files import sha256_of
from pipeline.store.arrays import load_arrays, save_arrays

if TYPE_CHECKING:  # the short run of tools.portable has NumPy alone
    from pipeline.settings.params import Params

# The environment variable that names the folder; if it is empty, there are no checkpoints
FOLDER = "TRAIN_CHECKPOINTS"
INTERVAL = 3.0  # seconds between two checkpoints, at least
LONGEST_LIFE = 30 * 24 * 3600  # seconds after which an unused file is removed
# Of a checkpoint, or of one that is being written
NAME = re.compile(r"\.?([0-9a-f]{32})\.npz(?:\.\d+\.part)?")
CODE = ("mlp", "pipeline", "stages")  # the folders whose code decides the result

ROOT = Path(__file__).parents[2]


class Checkpoint:
    """The checkpoint of one training. With `fresh`, training begins at its beginning."""

    def __init__(self, params: "Params", data: Sequence[Path], processes: int, fresh: bool = False):
        folder = checkpoint_folder()
        self.path = folder / f"{identity(params, data, processes)[:32]}.npz" if folder else None
        self._saved = time.monotonic()
        self._refused = False
        self._fresh = fresh

    def load(self, state: State) -> list[Epoch]:
        """Put `state` where the checkpoint is. Return the epochs until then; none without one."""
        if self.path is None or self._fresh:
            return []
        try:
            saved = load_arrays(self.path)
            iteration, best, score, rows = json.loads(str(saved["results"]))
            epochs = [
                Epoch(number, step, loss, tuple(Score(*score) for score in scores), fingerprint)
                for number, step, loss, scores, fingerprint in rows
            ]
            parameters = [saved[f"best_{i}"] for i in range(len(saved)) if f"best_{i}" in saved]
            kept = Best(best, Score(*score), parameters)
            pairs = [(array, saved[f"state_{i}"]) for i, array in enumerate(state.arrays())]
            if any(old.shape != new.shape for old, new in pairs):
                return []
        except Exception:  # whatever is wrong with the file, training begins at its beginning
            return []
        for old, new in pairs:
            old[...] = new
        state.iteration, state.best = iteration, kept
        return epochs

    def save(self, state: State, epochs: Sequence[Epoch]) -> None:
        """Write the file whole, if the last one is not new. A note says once that it cannot be."""
        if self.path is None or time.monotonic() - self._saved < INTERVAL:
            return
        best = state.best
        results = np.array(json.dumps([state.iteration, best.epoch, best.score, epochs]))
        try:
            arrays = {f"best_{number}": array for number, array in enumerate(best.parameters)}
            arrays |= {f"state_{number}": array for number, array in enumerate(state.arrays())}
            save_arrays(self.path, results=results, **arrays)
        except (OSError, MemoryError) as error:
            if not self._refused:
                reason = getattr(error, "strerror", None) or "not enough memory"
                note(f"note: this training has no checkpoints: {self.path.parent}: {reason}.")
            self._refused = True
        self._saved = time.monotonic()  # a slow disk delays training no more than the interval says

    def remove(self) -> None:
        """Remove the file, what kills left of it, and files that no training used for long."""
        if self.path is None:
            return
        with suppress(OSError):
            for path in self.path.parent.iterdir():
                with suppress(OSError):
                    is_old = time.time() - path.stat().st_mtime > LONGEST_LIFE
                    name = NAME.fullmatch(path.name)
                    if name and (is_old or name[1] == self.path.stem):
                        path.unlink()


def checkpoint_folder() -> Path | None:
    """Return the folder for checkpoints, if any: `TRAIN_CHECKPOINTS`, or the DVC project's.

    DVC names the project in `DVC_ROOT`. For an experiment in a temporary folder it is the project
    that started it.
    """
    if (folder := os.environ.get(FOLDER)) is not None:
        return Path(folder) if folder else None
    project = Path(os.environ.get("DVC_ROOT", "."), ".dvc")
    return project / "tmp" / "checkpoints" if project.is_dir() else None


def identity(params: "Params", data: Sequence[Path], processes: int) -> str:
    """Return the SHA-256 of all that decides the result of a training."""
    digest = hashlib.sha256()
    code = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    named = sorted((path.relative_to(ROOT).as_posix(), path) for path in code)
    for name, path in [*named, *(("", path) for path in data)]:
        digest.update(f"{name} {sha256_of(path)}\n".encode())
    decides = params.model_dump(include={"train", "distort"}) | {"numpy": np.__version__}
    if params.train.arithmetic == "float32":
        decides |= {"machine": platform.uname(), "processes": processes}
    digest.update(json.dumps(decides, sort_keys=True).encode())
    return digest.hexdigest()
