"""The records: dvc.yaml follows the protocol; dvc.lock agrees with it and the results."""

import hashlib
import json
import re

import pytest
from dvc.repo import Repo
from typer.testing import CliRunner

from pipeline.fitting.fit import training_of
from pipeline.program.errors import UserError
from pipeline.settings.checked import load_plain_yaml
from pipeline.settings.params import load_params
from pipeline.store.artifacts import NETWORK, load_model, load_prepared
from records import canary, row
from records.ledger import HERE, RECORDS
from tests.support.files import save_prepared
from tests.support.networks import digits
from tests.support.project import PLAIN, ROOT
from tests.support.refusals import refusal
from tools.lock import md5_of

LOCK = load_plain_yaml(HERE / "dvc.lock")["stages"]
OUTPUTS = {out["path"]: out["md5"] for stage in LOCK.values() for out in stage["outs"]}
CANARY = json.loads((HERE / "canary.json").read_text())
SEEDS = {name: load_plain_yaml(HERE / f"{name}.yaml")["record"]["seeds"] for name in RECORDS}
ROWS = [(record, seed) for record in RECORDS for seed in range(SEEDS[record])]
# Rows that were not trained yet: no result in Git, and no stage in dvc.lock
MISSING = {f"{record}-{seed}" for record, seed in ROWS}
MISSING -= {path.stem for path in (HERE / "results").iterdir()}


@pytest.fixture(scope="module")
def stages():
    """The stages of dvc.yaml by name, as DVC resolves them."""
    return {stage.name: stage for stage in Repo(str(HERE)).index.stages}


def paths(entries) -> set[str]:
    return {entry.def_path for entry in entries}


# dvc.yaml and dvc.lock


@pytest.mark.committed
def test_each_row_trains_its_record_and_seed_on_its_data(stages):
    """It depends on its data and on the record's canary, and writes its model and its result."""
    assert {path.stem for path in HERE.glob("*.yaml")} == {*RECORDS, "base", "dvc"}
    made = {}
    for stage in stages.values():
        if found := re.fullmatch(r"cd \.\. && python -m records\.row (\S+) (\d+)", str(stage.cmd)):
            made[found[1], int(found[2])] = stage
    assert made.keys() == set(ROWS)
    for (record, seed), stage in made.items():
        params = load_params(HERE / f"{record}.yaml")
        assert params.train.arithmetic == "exact"
        assert paths(stage.deps) == {f"prepared/{row.data_of(params).name}", "canary.json"}
        assert (stage.name in LOCK) == (f"{record}-{seed}" not in MISSING)
        if stage.name in LOCK:
            assert LOCK[stage.name]["params"] == {"canary.json": {record: CANARY[record]}}
        assert paths(stage.outs) == {f"models/{record}-{seed}.npz", f"results/{record}-{seed}.json"}
    names = {f"{record}-{seed}" for record, seed in ROWS}
    assert {path.stem for path in (HERE / "results").iterdir()} <= names


@pytest.mark.committed
def test_every_result_lists_its_mistakes_and_the_state_of_each_epoch():
    for record, seed in ROWS:
        if f"{record}-{seed}" in MISSING:
            continue
        params = load_params(HERE / f"{record}.yaml")
        train, validation = params.train, params.preprocess.validation_size
        result = json.loads((HERE / "results" / f"{record}-{seed}.json").read_text())
        assert result["errors"] == len({place for place, _, _ in result["wrong"]})
        batches = (60_000 - validation) // train.batch_size
        assert len(result["states"]) == -(-train.iterations // batches), record
        assert ("validation" in result) == (train.keep == "best")


@pytest.mark.committed
def test_the_data_are_prepared_as_each_record_says(stages):
    for record in RECORDS:
        params = load_params(HERE / f"{record}.yaml")
        command = stages[f"prepare@{row.data_of(params).name}"].cmd
        (path,) = re.findall(r"records/([\w-]+\.yaml)", command)
        prepared = load_params(HERE / path)
        assert (prepared.download, prepared.preprocess) == (params.download, params.preprocess)


@pytest.mark.committed
def test_all_stages_ran_as_dvc_yaml_says_on_what_the_others_made_and_what_is_in_git(stages):
    """Parameters, results and figures are in Git; the data and the models can be missing."""
    assert LOCK.keys() <= stages.keys()
    for name in stages.keys() - LOCK.keys():
        what = name.partition("@")[2]  # a row, or the record of figures
        assert what in MISSING or f"{what}-0" in MISSING, name
    for name, locked in LOCK.items():
        stage = stages[name]
        assert locked["cmd"] == stage.cmd, name
        inputs = {dep["path"] for dep in locked.get("deps", [])} | locked.get("params", {}).keys()
        assert inputs == paths(stage.deps), name
        assert {out["path"] for out in locked["outs"]} == paths(stage.outs), name
        for dep in locked.get("deps", []):
            path = dep["path"]
            found = OUTPUTS[path] if path in OUTPUTS else md5_of(HERE / path)
            assert dep["md5"] == found, (name, path)
        for path, used in locked.get("params", {}).items():
            values = load_plain_yaml(HERE / path)
            assert used == {key: values[key] for key in used}, (name, path)
        for out in locked["outs"]:
            if out["path"].startswith(("results/", "figures/", "ledger.md", "canary.json")):
                assert md5_of(HERE / out["path"]) == out["md5"], (name, out["path"])


@pytest.mark.committed
def test_the_prepared_data_are_those_of_the_main_pipeline():
    outs = load_plain_yaml(ROOT / "dvc.lock")["stages"]["preprocess"]["outs"]
    prepared = {out["path"].rpartition("/")[2]: out["md5"] for out in outs}
    listed = json.dumps([{"md5": md5, "relpath": name} for name, md5 in sorted(prepared.items())])
    assert hashlib.md5(listed.encode()).hexdigest() + ".dir" == OUTPUTS["prepared/mnist"]


# The canary


@pytest.mark.committed
def test_the_code_computes_what_it_did_when_the_records_were_trained(tmp_path):
    """All of canary.json is compared by `dvc repro canary` in records/, which CI runs."""
    canary.write_raw(tmp_path / "raw")
    canary.run_in_short(tmp_path / "raw", tmp_path / "dropout")
    assert md5_of(tmp_path / "dropout").removesuffix(".dir") == CANARY["dropout"]


@pytest.mark.committed
def test_the_command_writes_the_hash_of_each_record(tmp_path, monkeypatch):
    monkeypatch.setattr(canary, "RECORDS", ["nielsen", "simard-none"])
    ran = CliRunner().invoke(canary.main, [str(tmp_path / "canary.json")])
    assert ran.exit_code == 0, ran.output
    found = json.loads((tmp_path / "canary.json").read_text())
    assert found == {name: CANARY[name] for name in ("nielsen", "simard-none")}


# A row


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The prepared data of records in a new folder: the sample's test images."""
    data = tmp_path / "records" / "prepared" / "mnist"
    for name in ("train", "validation", "test"):
        save_prepared(data / f"{name}.npz", *digits("test"))
    monkeypatch.setattr(row, "HERE", tmp_path / "records")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return data


def test_a_row_is_a_trained_network_and_its_mistakes(data):
    here = row.HERE
    for name in ("base", "simard-none"):
        text = (HERE / f"{name}.yaml").read_text(encoding="utf-8")
        text = text.replace("iterations: 16500", "iterations: 2")
        (here / f"{name}.yaml").write_text(text, encoding="utf-8")
    for seed in ("3", "4"):
        ran = CliRunner().invoke(row.main, ["simard-none", seed])
        assert ran.exit_code == 0, ran.output
        base = here / "base.yaml"  # the validation images choose the epoch of the other seed
        base.write_text(base.read_text(encoding="utf-8").replace("keep: last", "keep: best"))
    network = load_model(here / "models" / "simard-none-3.npz")
    assert [W.shape for W in network.weights] == [(784, 800), (800, 10)]
    results = [here / "results" / f"simard-none-{seed}.json" for seed in (3, 4)]
    result, other = (json.loads(path.read_text()) for path in results)
    assert result["errors"] == len(result["wrong"]) > 0
    assert result["loss"] != other["loss"]
    assert other["validation"]["accuracy"] == 1 - other["errors"] / 200  # the same images here
    assert "validation" not in result
    actual = load_prepared(data / "test.npz").split.labels.argmax(axis=1)
    assert all(actual[place] == label != predicted for place, label, predicted in result["wrong"])


def test_an_audit_compares_every_digit_of_every_state(data, tmp_path, write_params, capsys):
    params = write_params(PLAIN | {"train.iterations": 6, "train.batch_size": 100})
    parts = [load_prepared(data / f"{name}.npz") for name in ("train", "validation")]
    parameters = load_params(params)
    network = NETWORK.new(parameters.train, parts[0].preparation)
    epochs = list(training_of(network, parameters, params, *parts).run())
    states = [epoch.fingerprint for epoch in epochs]
    assert len(states) == 3
    result = tmp_path / "some-0.json"
    result.write_text(json.dumps({"states": states}))
    row.audit(result, params, data, 2)
    assert "2 of 3 epochs" in capsys.readouterr().out
    for place in range(2):
        near = states[place][:-1] + "01"[states[place][-1] == "0"]
        result.write_text(json.dumps({"states": [*states[:place], near, *states[place + 1 :]]}))
        with pytest.raises(UserError, match=f"after epoch {place + 1} ") as caught:
            row.audit(result, params, data, 2)
        assert near in str(caught.value)


def test_a_row_of_no_record_is_refused():
    ran = CliRunner().invoke(row.main, ["simard"])
    refusal(ran, "no record simard", "simard-none", "nielsen")
