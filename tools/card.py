"""Write the model card, docs/model-card.md, in the form that Hugging Face reads: `python -m tools.card`.

Its numbers come from dvc.lock and metrics/, its text from tools/card.md.
"""

import json
from pathlib import Path
from string import Template
from typing import Annotated, Any

import typer

from pipeline.program.command import command
from pipeline.program.errors import UserError

# The names of the datasets on Hugging Face. Another dataset goes by its own name
ON_HUB = {"mnist": "ylecun/mnist", "fashion-mnist": "zalando-datasets/fashion_mnist"}
SCORES = {"accuracy": "Accuracy", "loss": "Cross-entropy", "macro_f1": "Macro F1"}
SAME_BYTES = "`make verify` gives the same bytes on every machine."
OTHER_BYTES = "Another machine gives other bytes, because `arithmetic` is not `exact`."


@command
def main(
    output: Annotated[Path, typer.Argument(help="Output: the model card.")] = Path("docs/model-card.md"),
) -> None:
    """Write the card of the model in dvc.lock: use, data, training, evaluation and limits."""
    from pipeline.program.files import write_text

    write_text(output, card(Path()))
    typer.echo(f"{output}: written.")


def card(project: Path) -> str:
    """Return the model card of a project, from its dvc.lock and its folder metrics/.

    Raises:
        UserError: dvc.lock has no model, or metrics/ is of another one.
        OSError: dvc.lock or a file in metrics/ cannot be read.
    """
    from pipeline.settings.plain_yaml import load_plain_yaml
    from tools.lock import locked_outputs

    outputs = locked_outputs(project / "dvc.lock")
    md5 = outputs.get(("train", "models/mlp.npz"))
    if md5 is None:
        raise UserError("dvc.lock has no model; run `dvc repro` to make one.")
    stages = load_plain_yaml(project / "dvc.lock")["stages"]  # as DVC wrote it, 5e-05 is a number
    if md5 not in [dep["md5"] for dep in stages.get("evaluate", {}).get("deps", [])]:
        raise UserError("dvc.lock: the model was trained after it was evaluated; run `dvc repro`.")
    _check_metrics(project, outputs)
    # The parameters that the model was made with, by section
    params = stages["preprocess"]["params"]["params.yaml"] | stages["train"]["params"]["params.yaml"]
    scores = {name: _metrics(project, name) for name in ("train", "validation", "test")}
    classes = _metrics(project, "classes")
    lowest = min(classes, key=lambda row: row["f1"])
    dataset = params["download"]["dataset"]
    text = Template((Path(__file__).parent / "card.md").read_text(encoding="utf-8")).substitute(
        dataset=dataset,
        classes=", ".join(row["class"] for row in classes),
        params="\n".join(f"{name}: {_flow(params[name])}" for name in ("preprocess", "distort", "train")),
        md5=md5,
        reproducible=SAME_BYTES if params["train"]["arithmetic"] == "exact" else OTHER_BYTES,
        scores="\n".join(_row(name, score) for name, score in scores.items()),
        test_images=f"{sum(row['images'] for row in classes):,}",
        lowest_f1=f"{lowest['f1']:.5f}",
        lowest_class=lowest["class"],
    )
    return f"---\n{_front_matter(dataset, scores['test'])}---\n\n{text}"


def _check_metrics(project: Path, outputs: dict[tuple[str, str], str]) -> None:
    """Raise a UserError if the files in metrics/ are not those that dvc.lock states."""
    from tools.lock import md5_of

    for name in ("train", "validation", "test", "classes"):
        path = project / "metrics" / f"{name}.json"
        if md5_of(path) != outputs.get(("plot", f"metrics/{name}.json")):
            raise UserError(f"{path}: not the file that dvc.lock states; run `dvc repro` to make it again.", path=path)


def _metrics(project: Path, name: str) -> Any:
    return json.loads((project / "metrics" / f"{name}.json").read_text(encoding="utf-8"))


def _flow(values: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=90).rstrip()


def _row(name: str, score: dict[str, float]) -> str:
    cells = [f"{score[key]:.5f}" if key in score else "" for key in SCORES]
    return f"| {' | '.join([name, *cells])} |"


def _front_matter(dataset: str, score: dict[str, float]) -> str:
    """Return what Hugging Face reads: https://huggingface.co/docs/hub/model-cards."""
    import yaml

    on_hub = ON_HUB.get(dataset, dataset)
    metrics = [{"type": key, "name": name, "value": round(score[key], 5)} for key, name in SCORES.items()]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"type": on_hub, "name": dataset, "split": "test"},
        "metrics": metrics,
    }
    values = {
        "license": "mit",
        "library_name": "numpy",
        "pipeline_tag": "image-classification",
        "tags": ["multi-layer-perceptron", "numpy"],
        "datasets": [on_hub],
        "metrics": ["accuracy", "f1"],
        "model-index": [{"name": "mlp", "results": [result]}],
    }
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


if __name__ == "__main__":
    main()
