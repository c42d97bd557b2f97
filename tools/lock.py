"""What `dvc.lock` states."""

from pathlib import Path

import yaml

from pipeline.program.errors import UserError


def locked_outputs(lock: Path) -> dict[tuple[str, str], str]:
    """Return the MD5 of each output in a `dvc.lock`, by stage and path.

    Raises:
        UserError: the file is not a valid `dvc.lock`.
        OSError: the file cannot be read.
    """
    text = lock.read_bytes()
    try:
        stages = yaml.safe_load(text)["stages"]
        outs = [(name, out) for name, stage in stages.items() for out in stage.get("outs", [])]
        return {(name, str(out["path"])): str(out["md5"]) for name, out in outs}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise UserError(f"{lock} is not valid; restore it: git checkout {lock}", path=lock) from None
