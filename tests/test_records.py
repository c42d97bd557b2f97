"""The records: dvc.yaml follows the protocol, and dvc.lock agrees with it, the code, the parameters and the results."""

import re

import pytest
from dvc.repo import Repo

from pipeline.settings.params import load_params
from pipeline.settings.plain_yaml import load_plain_yaml
from records.ledger import HERE, RECORDS, SEEDS
from tests.conftest import ROOT
from tools.lock import md5_of, md5_of_folder

LOCK = load_plain_yaml(HERE / "dvc.lock")["stages"]  # PyYAML alone would read 5e-05 as text
OUTPUTS = {out["path"]: out["md5"] for stage in LOCK.values() for out in stage["outs"]}
ROWS = [(record, seed) for record in RECORDS for seed in SEEDS]
COMMITTEES = [name for name in RECORDS if load_params(HERE / f"{name}.yaml").record.committee]
YAML = re.compile(r"records/([\w-]+\.yaml)")
MEMBERS = {f"committee@{name}": [name] for name in COMMITTEES} | {"committee-both": COMMITTEES}  # records, by stage


@pytest.fixture(scope="module")
def stages():
    """The stages of dvc.yaml by name, as DVC resolves them."""
    return {stage.name: stage for stage in Repo(str(HERE)).index.stages}


def dataset_of(record: str) -> str:
    return load_params(HERE / f"{record}.yaml").download.dataset


def paths(entries) -> set[str]:
    return {entry.def_path for entry in entries}


# dvc.yaml


def test_each_record_has_a_short_form_and_five_seeds(stages):
    assert sorted(path.stem for path in HERE.glob("*.yaml")) == sorted([*RECORDS, "dvc"])
    expected = {f"short@{record}" for record in RECORDS}
    expected |= {f"{stage}@{record}-{seed}" for stage in ("train", "evaluate") for record, seed in ROWS}
    expected |= {f"prepare@{dataset}" for dataset in map(dataset_of, RECORDS)}
    assert stages.keys() == expected | MEMBERS.keys() | {"short-committee", "figures", "ledger"}


def test_the_data_are_prepared_as_each_record_says(stages):
    for record in RECORDS:
        params = load_params(HERE / f"{record}.yaml")
        (path,) = {word for command in stages[f"prepare@{dataset_of(record)}"].cmd for word in YAML.findall(command)}
        prepared = load_params(HERE / path)
        assert (prepared.download, prepared.preprocess) == (params.download, params.preprocess)


def test_a_short_form_is_the_training_of_its_record_for_more_than_an_epoch(stages):
    for record in RECORDS:
        train, evaluate = stages[f"short@{record}"].cmd
        params = load_params(HERE / f"{record}.yaml").train
        steps = int(re.search(r"-S train.iterations=(\d+) ", train)[1])
        assert 55_000 // params.batch_size < steps < params.iterations
        data, out = f"records/prepared/{dataset_of(record)}", f"records/short/{record}"
        assert (
            train.split()
            == (
                f"cd .. && python -m stages.train {data}/train.npz {data}/validation.npz {out}/mlp.npz {out}/training "
                f"--params records/{record}.yaml -S train.iterations={steps} -S train.seed=1"
            ).split()
        )
        assert (
            evaluate.split()
            == (f"cd .. && python -m stages.evaluate {out}/mlp.npz {data}/test.npz {out}/evaluation").split()
        )
        assert params.arithmetic == "exact"


@pytest.mark.parametrize(
    ("names", "main_stages"),
    [
        ([f"short@{record}" for record in RECORDS], ["train", "evaluate"]),
        (["short-committee"], ["evaluate"]),
        (["prepare@mnist", "prepare@fashion-mnist"], ["download", "preprocess"]),
    ],
)
def test_a_stage_depends_on_the_code_of_the_main_stages(stages, names, main_stages):
    pipeline = load_plain_yaml(ROOT / "dvc.yaml")["stages"]
    code = {path for stage in main_stages for path in pipeline[stage]["deps"]}
    code = {path for path in code if path.split("/")[0] in ("datasets.yaml", "mlp", "pipeline", "stages")}
    files = {file for path in code for file in (list((ROOT / path).glob("*.py")) or [ROOT / path])}
    expected = {f"../{file.relative_to(ROOT).as_posix()}" for file in files}
    for name in names:
        assert {path for path in paths(stages[name].deps) if path.startswith("../")} == expected


def test_no_stage_depends_on_a_folder_outside_the_records(stages):
    """DVC would hash Python's bytecode in it, too: what it ignores is only inside its own project."""
    outside = {path for stage in stages.values() for path in paths(stage.deps) if path.startswith("../")}
    assert len(outside) > 20
    assert [path for path in sorted(outside) if not (HERE / path).is_file()] == []


def test_a_row_trains_its_record_and_seed_and_is_tested_on_the_test_images(stages):
    for record, seed in ROWS:
        row = f"{record}-{seed}"
        data = f"prepared/{dataset_of(record)}"
        train, evaluate = stages[f"train@{row}"], stages[f"evaluate@{row}"]
        assert (
            train.cmd.split()
            == (
                f"cd .. && python -m stages.train records/{data}/train.npz records/{data}/validation.npz "
                f"records/models/{row}.npz records/training/{row} --params records/{record}.yaml -S train.seed={seed}"
            ).split()
        )
        assert (
            evaluate.cmd[0].split()
            == (
                f"cd .. && python -m stages.evaluate records/models/{row}.npz records/{data}/test.npz "
                f"records/evaluation/{row}"
            ).split()
        )
        # The short form is in place of the code
        short = f"short/{record}"
        inputs = {f"{data}/train.npz", f"{data}/validation.npz", f"{short}/mlp.npz", f"{short}/training"}
        assert paths(train.deps) == inputs | {f"{record}.yaml"}
        assert paths(evaluate.deps) == {f"{data}/test.npz", f"models/{row}.npz", f"{short}/evaluation", "result.py"}
        for name in (f"train@{row}", f"short@{record}"):
            assert LOCK[name]["params"][f"{record}.yaml"].keys() == {"distort", "train"}


def test_a_committee_has_the_networks_of_all_seeds(stages):
    for name, records in MEMBERS.items():
        stage = stages[name]
        models = {f"models/{record}-{seed}.npz" for record in records for seed in SEEDS}
        words = stage.cmd[0].split()
        assert sorted(word for word in words if "/models/" in word) == sorted(f"records/{path}" for path in models)
        assert "records/prepared/mnist/test.npz" in words
        assert paths(stage.deps) == models | {"prepared/mnist/test.npz", "short/committee", "result.py"}
    short = stages["short-committee"]
    models = {f"short/{record}/mlp.npz" for record in COMMITTEES}
    assert {path for path in paths(short.deps) if path.endswith("mlp.npz")} == models
    assert {word for word in short.cmd.split() if "mlp.npz" in word} == {f"records/{path}" for path in models}


def test_the_ledger_is_made_of_all_results_and_measurements(stages):
    parameters = {f"{record}.yaml" for record in RECORDS}
    assert parameters | {"results", "costs.json", "ledger.py", "drawing.py"} < paths(stages["ledger"].deps)
    networks = {f"results/simard-elastic-{seed}.json" for seed in SEEDS}
    figures = stages["figures"]
    assert {path for path in paths(figures.deps) if path.startswith("results")} == networks
    assert {word for word in figures.cmd.split() if "/results/" in word} == {f"records/{path}" for path in networks}


# dvc.lock


def test_all_stages_ran_as_dvc_yaml_says(stages):
    assert LOCK.keys() == stages.keys()
    for name, stage in stages.items():
        locked = LOCK[name]
        assert locked["cmd"] == (tuple(stage.cmd) if isinstance(stage.cmd, list) else stage.cmd), name
        inputs = {dep["path"] for dep in locked.get("deps", [])} | locked.get("params", {}).keys()
        assert inputs == paths(stage.deps), name
        assert {out["path"] for out in locked["outs"]} == paths(stage.outs), name


@pytest.mark.parametrize("name", LOCK)
def test_a_stage_used_what_the_others_made_and_what_is_in_git(name):
    """Code, parameters, results and figures are in Git; the data and the models can be missing."""
    for dep in LOCK[name]["deps"]:
        path = dep["path"]
        if path.startswith("prepared/"):
            continue  # the next test
        assert dep["md5"] == (OUTPUTS[path] if path in OUTPUTS else md5_of(HERE / path)), path
    for path, used in LOCK[name].get("params", {}).items():
        params = load_plain_yaml(HERE / path)
        assert used == {section: params[section] for section in used}, path
    for out in LOCK[name]["outs"]:
        if out["path"].startswith(("results/", "figures/", "ledger.md")):
            assert md5_of(HERE / out["path"]) == out["md5"], out["path"]


@pytest.mark.parametrize("folder", ["prepared/mnist", "prepared/fashion-mnist"])
def test_all_stages_used_the_prepared_data(folder):
    deps = [dep for stage in LOCK.values() for dep in stage["deps"] if dep["path"].startswith(f"{folder}/")]
    used = {(dep["path"].removeprefix(f"{folder}/"), dep["md5"]) for dep in deps}
    assert [name for name, _ in sorted(used)] == ["test.npz", "train.npz", "validation.npz"]
    assert md5_of_folder(dict(used)) == OUTPUTS[folder]


def test_each_result_is_of_a_row_or_a_committee():
    expected = {f"{record}-{seed}" for record, seed in ROWS} | {stage.replace("@", "-") for stage in MEMBERS}
    assert {path.stem for path in (HERE / "results").iterdir()} == expected
