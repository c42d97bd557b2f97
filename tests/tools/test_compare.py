"""`tools.compare`: runs grouped, averaged, paired and drawn. See test_report.py for DVC's own."""

import csv
import io
import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.program.errors import UserError
from pipeline.store.tables import HISTORY_COLUMNS
from tests.support.refusals import refusal
from tools.compare import experiments as experiments_of_dvc
from tools.compare.__main__ import main
from tools.compare.curves import LOOKS, curve_of, draw_curves
from tools.compare.experiments import METRICS, Run

PARENT = "c" * 40
T_OF_FIVE = 2.7764451052  # t of 4 degrees of freedom, from a table


def experiment(name, metrics=0.9, state="success", commit="0" * 40, **train):
    """Return an experiment as `dvc exp show --json` gives it, with the keys that are read."""
    metrics = metrics if isinstance(metrics, list) else [metrics] * 5
    train = {"hidden_sizes": [50], "activation": "relu", "nesterov": False, "seed": 0} | train
    files: dict = {}
    for (file, key), value in zip(METRICS.values(), metrics, strict=True):
        files.setdefault(file, {"data": {}})["data"][key] = value
    params = {"params.yaml": {"data": {"preprocess": {"seed": 0}, "train": train}}}
    revisions = [{"rev": commit, "data": {"params": params, "metrics": files}}]
    return {"name": name, "revs": revisions, "executor": {"state": state} if state else None}


@pytest.fixture
def dvc_shows(tmp_path, monkeypatch):
    """A function that makes DVC print experiments of HEAD, and Git the histories of commits."""
    monkeypatch.chdir(tmp_path)

    def show(experiments, histories=None, code=0):
        workspace, head = {"rev": "workspace", "experiments": None}, {"rev": PARENT}
        commits = [workspace, head | {"experiments": [*experiments]}]

        def output(*_):
            if code:
                raise UserError("`dvc exp show` failed: it gave no reason")
            return json.dumps(commits)

        def git(_, path):
            return (histories or {}).get(path.partition(":")[0], "")

        monkeypatch.setattr(experiments_of_dvc, "output", output)
        monkeypatch.setattr(experiments_of_dvc, "git", git)

    return show


def compare(*words):
    return CliRunner().invoke(main, words)


def printed(*words):
    """Return what the command prints. It prints nothing on standard error."""
    result = compare(*words)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def rows(text):
    """Return the cells of each line with text: two spaces or more separate them."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines() if line.strip()]


def test_runs_that_differ_in_seeds_alone_are_one_setting(dvc_shows):
    """A run counts once, also under two names. One run has no spread. Brackets stay as they are."""
    twice = [experiment(name, 0.9, seed=1) for name in "bc"]
    dvc_shows([experiment("a", 0.88, seed=0), *twice])
    assert rows(printed())[3][1:] == ["all", "2", f"0.8900 ± {0.02 / 2**0.5:.4f}"]
    dvc_shows([experiment(name, 0.5, activation=name) for name in ("relu", "[b]:\x1b:", "tanh")])
    assert rows(printed())[3][1:] == ["train.activation=[b]:?:", "1", "0.5000"]
    dvc_shows([experiment("a", 0.88), experiment("b", 0.9)])
    refusal(compare(), "", "a", "b", "same parameters")
    pairs = product((10, 9), (0, 1))
    dvc_shows([experiment(f"{rate}-{seed}", rate=rate, seed=seed) for rate, seed in pairs])
    assert "Difference from train.rate=9, seed by seed" in printed()  # the first is the baseline


def test_csv_has_a_row_for_each_run_with_every_parameter_and_every_bit(dvc_shows):
    third = [1 / 3, 0.1 + 0.2, 1e-17, 1.0, 2 / 3]
    b = experiment("b", third, seed=1, hidden_sizes=[800, 20])
    dvc_shows([b, experiment("a", 0.5, commit="a" * 40)])
    table = list(csv.DictReader(io.StringIO(printed("--csv"))))
    keys = [f"train.{key}" for key in ("hidden_sizes", "activation", "nesterov", "seed")]
    assert list(table[0]) == ["experiment", "commit", "parent", "preprocess.seed", *keys, *METRICS]
    a = ["a", "a" * 40, PARENT, "0", "[50]", "relu", "false", "0"]
    b = ["b", "0" * 40, PARENT, "0", "[800,20]", "relu", "false", "1"]
    assert [list(row.values())[:8] for row in table] == [a, b]
    assert [float(table[1][metric]) for metric in METRICS] == third


def test_json_has_the_runs_and_the_numbers(dvc_shows):
    names = ("relu", "sigmoid", "tanh")
    values = np.random.default_rng(3).uniform(0.1, 0.9, (3, 5, 5))  # (activation, seed, metric)
    dvc_shows(
        experiment(f"{names[n]}-{seed}", values[n, seed].tolist(), activation=names[n], seed=seed)
        for n, seed in product(range(3), range(5))
    )
    document = json.loads(printed("--json", "--baseline", "train.activation=sigmoid"))
    assert document["baseline"] == "train.activation=sigmoid"
    assert document["interval"]["confidence"] == 0.95
    for setting, activation, of_setting in zip(document["settings"], names, values, strict=True):
        assert setting["setting"] == f"train.activation={activation}"
        for seed, run in zip(range(5), setting["runs"], strict=True):
            train = {"hidden_sizes": [50], "activation": activation, "nesterov": False}
            parameters = {f"train.{key}": value for key, value in (train | {"seed": seed}).items()}
            assert run.pop("parameters") == {"preprocess.seed": 0, **parameters}
            assert run.pop("metrics") == dict(zip(METRICS, of_setting[seed].tolist(), strict=True))
            name = f"{activation}-{seed}"
            assert run == {"experiment": name, "commit": "0" * 40, "parent": PARENT}
        expected = np.transpose([of_setting.mean(axis=0), of_setting.std(axis=0, ddof=1)])
        found = [list(one.values()) for one in setting["metrics"].values()]
        assert found == pytest.approx(expected)
        difference = of_setting - values[1]
        mean, sd = difference.mean(axis=0), difference.std(axis=0, ddof=1)
        low, high = mean - T_OF_FIVE * sd / 5**0.5, mean + T_OF_FIVE * sd / 5**0.5
        differences = setting["minus_baseline"].values()
        found = [[one["mean"], one["sd"], *one["interval"]] for one in differences]
        expected = pytest.approx(np.transpose([mean, sd, low, high]))
        assert found == ([] if activation == "sigmoid" else expected)
    document = json.loads(printed("--json", "relu-0"))
    assert document["baseline"] is None
    assert document["settings"][0]["metrics"]["test loss"] == {"mean": values[0, 0, 3], "sd": None}


def test_pairs_have_the_same_seed(dvc_shows):
    """A seed of only one of the settings has no pair. Fewer than two pairs have no spread."""
    runs = [("relu", 0, 0.5), ("relu", 1, 0.6), ("relu", 2, 0.9)]
    runs += [("tanh", 3, 0.1), ("tanh", 2, 0.8), ("tanh", 1, 0.7)]
    experiments = [experiment(f"{a}{n}", value, activation=a, seed=n) for a, n, value in runs]
    dvc_shows(experiments)
    difference = json.loads(printed("--json"))["settings"][1]["minus_baseline"]["test accuracy"]
    assert (difference["degrees_of_freedom"], difference["mean"]) == (1, pytest.approx(0))
    assert difference["sd"] == pytest.approx(0.1 * 2**0.5)
    assert difference["interval"] == pytest.approx([-0.1 * 12.7062047, 0.1 * 12.7062047])
    table = rows(printed().partition("Difference from train.activation=relu, seed by seed")[2])
    assert table[2][2:] == ["2", "+0.0000 ± 0.1414", "-1.2706 to +1.2706"]
    words = ("--baseline", "train.activation=tanh", "--baseline", "train.hidden_sizes=[50]")
    refusal(compare(*words), "", "0 settings", "train.activation=relu", "train.activation=tanh")
    dvc_shows(experiments[:-1])
    result = compare()
    assert "Difference" not in result.stdout
    assert "train.activation=tanh and train.activation=relu have fewer" in result.stderr


def test_finished_experiments_are_chosen_by_name(dvc_shows):
    """DVC gives unfinished ones the metrics of their commit."""
    states = ("queued", "failed", "running")
    unfinished = [experiment(name, 0.1, state=name, seed=9) for name in states]
    unfinished += [experiment(None, state="queued"), experiment("lost") | {"revs": None}]
    names = ["act-1", "act-22", "other", "again"]
    finished = [experiment(name, seed=seed) for seed, name in enumerate(names)]
    dvc_shows([experiment("a", state=None), *finished, *unfinished])
    assert rows(printed("act-?", "again", "a*n"))[3][1:3] == ["all", "2"]
    assert rows(printed("a"))[3][1:3] == ["all", "1"]
    assert "5" in compare().stderr, "how many are left out"
    for names in (["queued"], ["act-*", "tanh-*"]):
        refusal(compare(*names), "", f"finished experiment called {names[-1]}")
    dvc_shows([])
    refusal(compare(), "", "no finished experiment")


def test_what_cannot_be_compared(dvc_shows):
    for data in (None, {"metrics": {}}, {"params": {"params.yaml": {"data": {"train": 5}}}}):
        broken = experiment("act-7")
        broken["revs"][0]["data"] = data and broken["revs"][0]["data"] | data
        dvc_shows([broken])
        refusal(compare(), "", "act-7", "lacks parameters")
    for metric in (float("nan"), float("inf"), "high", "", [0.9], None, 10**400):
        dvc_shows([experiment("act-6"), experiment("act-7", [0.9, 0.9, metric, 0.9, 0.9], seed=1)])
        for words in ([], ["--json"], ["--csv"]):
            refusal(compare(*words), "", "act-7", "finite metrics")
    dvc_shows([experiment("a")], code=1)
    refusal(compare(), "", "`dvc exp show` failed")
    dvc_shows([experiment("a")])
    for options in (["--json", "--csv"], ["--csv", "--baseline", "a=1"], ["--figure", "act.pdf"]):
        refusal(compare(*options))
    assert not Path("act.pdf").exists()


def history(accuracies, first=1, step=1):
    """Return a history with the validation accuracy of some epochs."""
    rows = [",".join(HISTORY_COLUMNS)]
    for n, accuracy in enumerate(accuracies):
        rows.append(f"{first + step * n},5,0.4,0.3,0.2,{accuracy!r},,0")
    return "\n".join([*rows, ""])


def run_of(commit, **train):
    return Run("act-7", commit, PARENT, {f"train.{key}": value for key, value in train.items()}, {})


def test_a_curve_has_the_epochs_that_all_seeds_have(dvc_shows):
    """A run may stop early, and a long history has every k-th epoch."""
    a, b = history([0.5, 0.6, 0.7, 0.8]), history([0.4, 0.6, 0.8], 2, 2)
    dvc_shows([], {"a": a, "b": b, "c": history([0.5], 5)})
    epochs, mean, sd = curve_of([run_of("a"), run_of("b")])
    assert epochs.tolist() == [2, 4]
    assert mean == pytest.approx([0.5, 0.7])
    assert sd == pytest.approx([0.1 * 2**0.5] * 2)
    assert curve_of([run_of("a")])[2].tolist() == [0] * 4, "one run has no spread"
    with pytest.raises(UserError, match="no epoch"):
        curve_of([run_of("a"), run_of("c")])
    looks = {f"train.rate={n}": {"": run_of("a")} for n in range(len(LOOKS))}
    lines = draw_curves(looks).axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(LOOKS)


def test_a_figure_beside_what_is_printed(dvc_shows):
    """It needs a usable history."""
    Path("one.PNG").write_bytes(b"old")
    big = f"epoch,validation_accuracy\n1,{'0' * 200_000}\n"  # more than Python reads of a cell
    for text in ("", "epoch,validation_accuracy\n1,nought\n", history([0.5, float("nan")]), big):
        dvc_shows([experiment("act-7", commit="a")], {"a": text})
        refusal(compare("--figure", "one.PNG"), "", "act-7", "metrics/history.csv")
    assert Path("one.PNG").read_bytes() == b"old"
    dvc_shows([experiment("act-7", commit="a")], {"a": history([0.5, 0.6])})
    assert printed("--csv", "--figure", "one.PNG") == printed("--csv")
    assert Path("one.PNG").read_bytes().startswith(b"\x89PNG")
