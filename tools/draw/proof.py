"""What the page needs to train as the pipeline does: its prepared data and its parameters, as
dvc.lock has them.
"""

import gzip
import hashlib
from pathlib import Path
from typing import Any

from mlp.protocol import Preparation
from pipeline.program.errors import UserError
from pipeline.settings.checked import load_plain_yaml
from pipeline.store.artifacts import load_prepared

DATA = tuple(f"data/prepared/{split}.npz" for split in ("train", "validation", "test"))
MODEL = "models/mlp.npz"
MOST_PIXELS = 65536  # the page's numbers of pixels have 16 bits


def load_proof(lock: Path, preparation: Preparation) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the MD5s and parameters in dvc.lock, and the prepared files by path, gzipped.

    Raises:
        UserError: the page could not train: a file is missing, or is not the one in dvc.lock; its
            images were not prepared as `preparation` says; black pixels are not 0; or the images
            are too large.
    """
    rows, columns = preparation.image_shape
    if preparation.shift or rows * columns > MOST_PIXELS:
        needs = f"images of at most {MOST_PIXELS} pixels whose black pixels are 0 (minmax)"
        raise UserError(f"it needs {needs}.")
    try:
        stages = load_plain_yaml(lock)["stages"]
        outs = [out for stage in stages.values() for out in stage.get("outs", ())]
        md5 = {out["path"]: out["md5"] for out in outs}
        params = stages["train"]["params"]["params.yaml"]
    except (AttributeError, KeyError, TypeError):  # it is empty, or half
        raise UserError(f"{lock} states no training; run `dvc repro`.") from None
    if missing := {*DATA, MODEL} - md5.keys():
        raise UserError(f"{lock} has no {min(missing)}.")
    files = {}
    for name in DATA:
        path = lock.parent / name
        prepared, content = load_prepared(path), path.read_bytes()
        if prepared.preparation != preparation or hashlib.md5(content).hexdigest() != md5[name]:
            what = f"{path} is not the file in {lock}"
            raise UserError(f"{what}, or not prepared as the network was trained.")
        files[name] = gzip.compress(content, 7, mtime=0)
    listed = [{"path": name, "md5": md5[name]} for name in DATA]
    return {"files": listed, "model": md5[MODEL], "params": params}, files
