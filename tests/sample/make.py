"""Cut the sample out of the full dataset: `python tests/sample/make.py data/raw`."""

import gzip
import struct
import sys
from pathlib import Path

COUNTS = {
    "train-images-idx3-ubyte": 600,
    "train-labels-idx1-ubyte": 600,
    "t10k-images-idx3-ubyte": 200,
    "t10k-labels-idx1-ubyte": 200,
}

for name, count in COUNTS.items():
    content = (Path(sys.argv[1]) / name).read_bytes()
    header, item = (16, 28 * 28) if "images" in name else (8, 1)
    cut = content[:4] + struct.pack(">I", count) + content[8 : header + count * item]
    Path(__file__).with_name(f"{name}.gz").write_bytes(gzip.compress(cut, 9, mtime=0))
