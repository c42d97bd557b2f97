"""In which format to keep the prepared images: size, and time to write, to hash as DVC does, and to load.

python -m benchmarks.formats
"""

import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.machine import table
from pipeline.program.command import command
from pipeline.store.arrays import load_arrays, save_arrays


def milliseconds(action: Callable[[], object]) -> str:
    """Return the least time of five."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        action()
        times.append((time.perf_counter() - start) * 1e3)
    return f"{min(times):.0f}"


def load_all(path: Path) -> None:
    """Load every array of an `.npz`."""
    with np.load(path) as archive:
        for name in archive:
            archive[name]


@command
def main() -> None:
    """Print the table, in Markdown."""
    arrays = load_arrays(Path("data/prepared/train.npz"))
    scaled = arrays["images"] * np.float32(arrays["scale"])
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, suffix, write, load in [
            ("bytes, stored `.npz` (what the pipeline writes)", "npz", lambda p: save_arrays(p, **arrays), load_arrays),
            ("bytes, compressed `.npz`", "npz", lambda p: np.savez_compressed(p, **arrays), load_all),
            ("bytes, `.npy`, images alone", "npy", lambda p: np.save(p, arrays["images"]), np.load),
            ("float32, `.npy`, images alone", "npy", lambda p: np.save(p, scaled), np.load),
        ]:
            path = Path(folder, f"images.{suffix}")
            written = milliseconds(lambda path=path, write=write: write(path))
            hashed = milliseconds(lambda path=path: hashlib.file_digest(path.open("rb"), "md5"))
            loaded = milliseconds(lambda path=path, load=load: load(path))
            rows.append([name, f"{path.stat().st_size / 1e6:.1f}", written, hashed, loaded])
    print(table(["55,000 training images", "MB", "write, ms", "MD5, ms", "load, ms"], rows))


if __name__ == "__main__":
    main()
