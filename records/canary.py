"""Does the code still compute what it did for the records? Each record in short, as one hash.

The stages prepare, train and evaluate the tests' sample of real digits, three times over: more
images than a block of distorted ones has. The bound on the norms is half, so that it acts at once.
A bit that changes there, or a parameter, changes the record's hash. The rows of dvc.yaml depend on
these hashes, not on the code.
"""

import gzip
import tempfile
from pathlib import Path
from typing import Annotated, Any

from typer import Argument

from pipeline.program.command import command
from pipeline.program.files import read_json, write_bytes, write_json
from pipeline.settings.params import Params, load_params
from records.ledger import HERE, RECORDS
from records.row import run, train_and_evaluate
from tools.lock import md5_of

SAMPLE = HERE.parent / "tests" / "sample"
# The sample has 600 training and 200 test images
COPIES, TRAINED, HELD_OUT, EPOCHS = 3, 1200, 600, 2


@command
def main(
    canary: Annotated[Path, Argument(help="Output: a JSON file, the hash of each record.")],
) -> None:
    """Run each record in short, and write a hash of its parameters and its stages' files."""
    with tempfile.TemporaryDirectory() as temporary:
        raw, *folders = (Path(temporary, name) for name in ("raw", *RECORDS))
        write_raw(raw)
        for folder in folders:
            run_in_short(raw, folder)
        md5s = {folder.name: md5_of(folder) for folder in folders}
        write_json(canary, {name: md5.removesuffix(".dir") for name, md5 in md5s.items()})


def write_raw(raw: Path) -> None:
    """Write the sample into a new folder, each of its IDX files COPIES times over."""
    for packed in SAMPLE.glob("*.gz"):
        content = gzip.decompress(packed.read_bytes())
        # Four bytes, the last the number of lengths; the lengths, the images' number first
        start = 4 + 4 * content[3]
        count = int.from_bytes(content[4:8]) * COPIES
        header = content[:4] + count.to_bytes(4) + content[8:start]
        write_bytes(raw / packed.stem, header + content[start:] * COPIES)


def recipe(params: Params) -> dict[str, Any]:
    """Return the parameters that decide a record's rows."""
    found = params.model_dump(mode="json", include={"preprocess", "train", "distort"})
    if not params.train.label_smoothing:  # the key is newer than most rows
        del found["train"]["label_smoothing"]
    return found


def run_in_short(raw: Path, folder: Path) -> None:
    """Write a record's parameters and short run into a new folder that has the record's name."""
    recorded = load_params(HERE / f"{folder.name}.yaml")
    write_json(folder / "record.json", recipe(recorded))
    params = recorded.model_dump(mode="json")
    train = params["train"]
    train["iterations"] = EPOCHS * (TRAINED // train["batch_size"])
    train["max_norm"] /= 2
    train["seed"] = 1
    params["preprocess"]["validation_size"] = HELD_OUT
    write_json(short := folder.with_suffix(".json"), params)  # JSON is YAML
    splits = [folder / f"{name}.npz" for name in ("train", "validation", "test")]
    run("preprocess", raw, *splits, "--params", short)
    train_and_evaluate(short, folder, folder / "mlp.npz", folder, "--fresh")
    # The macro F1 is left out: it follows from the same predictions, and is newer than the rows
    scores = folder / "training" / "validation.json"
    write_json(scores, {name: read_json(scores)[name] for name in ("loss", "accuracy")})


if __name__ == "__main__":
    main()
