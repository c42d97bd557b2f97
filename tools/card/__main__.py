"""Write the numbers in the model card, from dvc.lock and metrics/, and the picture of the curves."""

import re
from pathlib import Path

from pipeline.program.command import command
from pipeline.program.errors import UserError

CARD, CURVES = Path("docs/model-card.md"), Path("docs/curves.png")
# The lines that Hugging Face reads; the text up to the first mark; the text from the second mark
PARTS = re.compile(r"---\n(.*?)---\n(.*<!-- python -m tools\.card -->\n).*(<!-- end -->\n.*)", re.DOTALL)
ON_HUB = {"mnist": "ylecun/mnist", "fashion-mnist": "zalando-datasets/fashion_mnist"}  # other datasets keep their names
SCORES = {"accuracy": "Accuracy", "loss": "Cross-entropy", "macro_f1": "Macro F1"}


@command
def main() -> None:
    """Write docs/model-card.md again: dataset, parameters, the model's MD5, scores. Draw docs/curves.png again."""
    import yaml

    from pipeline.drawing.figures import picture
    from pipeline.program.files import read_json, write_bytes, write_text
    from pipeline.settings.checked import load_plain_yaml
    from tools.card.curves import draw_curves, read_history
    from tools.lock import md5_of

    stages = load_plain_yaml(Path("dvc.lock"))["stages"]  # as DVC wrote it: 5e-05 is a number
    made = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    used = {(dep["path"], dep["md5"]) for stage in stages.values() for dep in stage["deps"] if dep["path"] in made}
    metrics = [Path("metrics", f"{name}.json") for name in ("train", "validation", "test", "classes")]
    used |= {(path.as_posix(), md5_of(path)) for path in metrics}
    if not used <= made.items():
        raise UserError("dvc.lock and metrics/ are not from one finished run; run `dvc repro`.")
    *scores, classes = map(read_json, metrics)
    params = stages["preprocess"]["params"]["params.yaml"] | stages["train"]["params"]["params.yaml"]
    dataset = params.pop("download")["dataset"]
    lowest = min(classes, key=lambda row: row["f1"])

    parts = PARTS.fullmatch(CARD.read_text(encoding="utf-8"))
    if not parts:
        raise UserError(f"{CARD} lacks its first lines or a mark; restore it: git checkout {CARD}", path=CARD)
    for_hub = yaml.safe_load(parts[1])
    for_hub["datasets"] = [ON_HUB.get(dataset, dataset)]
    (result,) = for_hub["model-index"][0]["results"]
    result["dataset"] |= {"type": ON_HUB.get(dataset, dataset), "name": dataset}
    result["metrics"] = [{"type": key, "name": SCORES[key], "value": round(scores[-1][key], 5)} for key in SCORES]
    text = f"The dataset is {dataset}. Its classes are {', '.join(row['class'] for row in classes)}.\n\n```yaml\n"
    for name, values in params.items():
        text += f"{name}: {yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=90)}"
    text += f"```\n\nThe MD5 of `mlp.npz` is `{made['models/mlp.npz']}`.\n\n"
    text += "| images | accuracy | loss | macro F1 |\n|---|---:|---:|---:|\n"
    for path, score in zip(metrics, scores, strict=False):
        text += f"| {path.stem} | {' | '.join(f'{score[key]:.5f}' if key in score else '' for key in SCORES)} |\n"
    text += f"\nThe class {lowest['class']} has the lowest F1 of the test images, {lowest['f1']:.5f}.\n"
    first = yaml.safe_dump(for_hub, sort_keys=False, allow_unicode=True)
    write_text(CARD, f"---\n{first}---\n{parts[2]}{text}{parts[3]}")
    write_bytes(CURVES, picture(draw_curves(read_history(Path("metrics/history.csv"))), 120))
    print(f"{CARD}, {CURVES}: written.")


if __name__ == "__main__":
    main()
