"""Write the trained network as an ONNX file: `python -m tools.export model.onnx`."""

import importlib.util
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from pipeline.program.command import command
from pipeline.program.errors import UserError


@command
def main(
    output: Annotated[Path, Argument(help="Output: the ONNX file.")],
    model: Annotated[Path, Option(help="The trained network.")] = Path("models/mlp.npz"),
) -> None:
    """Write the trained network as an ONNX file, from bytes to the probability of each class.

    The same network gives the same bytes. docs/export.md says how to use the file.
    """
    if not importlib.util.find_spec("onnx"):
        install = "python -m pip install -r tools/export/requirements.txt"
        raise UserError(f"the export needs onnx; install it: {install}")

    from pipeline.program.files import check_distinct, write_bytes
    from pipeline.store.artifacts import load_mlp
    from tools.export.graph import onnx_model
    from tools.lock import md5_of

    check_distinct(output, model)
    network = load_mlp(model)
    try:
        content = onnx_model(network, md5_of(model)).SerializeToString(deterministic=True)
    except FloatingPointError:
        cure = "train with a smaller train.learning_rate"
        raise UserError(f"{model}: its weights are too large; {cure}.") from None
    write_bytes(output, content)
    print(f"{output}: {len(content):,} bytes, {len(network.preparation.classes)} classes.")


if __name__ == "__main__":
    main()
