"""Does the code compute what it computed when the records were trained? Each record in short, as one hash.

The stages prepare, train for three epochs and evaluate the tests' sample of real digits. Any computed bit that changes
also changes the record's hash, and so does a parameter. The rows of dvc.yaml depend on these hashes, not on the code.
"""

import gzip
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from pipeline.program.command import command
from pipeline.program.files import write_json
from pipeline.settings.params import load_params
from records.ledger import HERE, RECORDS
from records.row import run
from tools.lock import md5_of

SAMPLE = HERE.parent / "tests" / "sample"
IMAGES, HELD_OUT, EPOCHS = 600, 200, 3  # training images of the sample; those held out of training


@command
def main(canary: Annotated[Path, typer.Argument(help="Output: a JSON file, the hash of each record.")]) -> None:
    """Run each record in short, and write a hash of its parameters and of all files that its stages write."""
    with tempfile.TemporaryDirectory() as temporary:
        raw, committee, *folders = (Path(temporary, name) for name in ("raw", "committee", *RECORDS))
        raw.mkdir()
        for packed in SAMPLE.glob("*.gz"):
            (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
        for folder in folders:
            run_in_short(raw, folder)
        models = [folder / "mlp.npz" for folder in folders if folder.name in ("simard-elastic", "ciresan-small")]
        run("evaluate", models[0], folders[0] / "test.npz", committee, f"--with={models[1]}", quiet=True)
        write_json(canary, {folder.name: md5_of(folder).removesuffix(".dir") for folder in (*folders, committee)})


def run_in_short(raw: Path, folder: Path) -> None:
    """Write into a new folder with a record's name: its parameters, its short form's, and what the stages make."""
    folder.mkdir()
    params = load_params(HERE / f"{folder.name}.yaml").model_dump(mode="json", exclude={"record"})
    write_json(folder / "record.json", {section: params[section] for section in ("preprocess", "train", "distort")})
    steps = EPOCHS * ((IMAGES - HELD_OUT) // params["train"]["batch_size"])
    params["preprocess"]["validation_size"] = HELD_OUT
    params["train"] |= {"iterations": steps, "seed": 1}
    write_json(short := folder / "short.json", params)  # JSON is YAML
    train, validation, test, model = (folder / f"{name}.npz" for name in ("train", "validation", "test", "mlp"))
    run("preprocess", raw, train, validation, test, "--params", short, quiet=True)
    run("train", train, validation, model, folder / "training", "--params", short, "--fresh", quiet=True)
    run("evaluate", model, test, folder / "evaluation", quiet=True)


if __name__ == "__main__":
    main()
