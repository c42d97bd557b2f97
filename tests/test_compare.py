"""`tools.compare`: runs grouped, averaged and paired. That it reads what DVC writes, the tour shows."""

import io
from statistics import fmean, stdev

import pytest
from rich.console import Console

from pipeline.program.errors import UserError
from tools.compare import METRICS, by_setting, finished_runs, paired, summary, t_quantile


def experiment(name: str, activation: str, seed: int, accuracy: float, state: str | None = "success") -> dict:
    """Return an experiment as `dvc exp show --json` gives it, as far as it is read."""
    params = {"preprocess": {"seed": 0}, "train": {"hidden_sizes": [50], "activation": activation, "seed": seed}}
    data = {
        "params": {"params.yaml": {"data": params}},
        "metrics": {
            "metrics/validation.json": {"data": {"accuracy": accuracy, "loss": 0.5}},
            "metrics/test.json": {"data": {"accuracy": accuracy, "loss": 0.5}},
        },
    }
    return {"name": name, "revs": [{"data": data}], "executor": {"state": state} if state else None}


FOUR = [
    experiment("act-10", "relu", 1, 0.90),
    experiment("act-9", "relu", 0, 0.88, state=None),
    experiment("act-2", "sigmoid", 1, 0.85),
    experiment("act-1", "sigmoid", 0, 0.87),
]


def printed(table) -> str:
    console = Console(file=io.StringIO(), width=200, markup=False)
    console.print(table)
    return console.file.getvalue()


def test_runs_are_grouped_by_what_is_no_seed():
    settings = by_setting(finished_runs(FOUR, ["*"]))
    assert list(settings) == [("train.activation=sigmoid",), ("train.activation=relu",)], "in the order of the names"
    seeds = [("preprocess.seed=0", "train.seed=0"), ("preprocess.seed=0", "train.seed=1")]
    assert all(list(metrics) == seeds for metrics in settings.values())
    text = printed(summary(settings))
    assert f"{fmean([0.87, 0.85]):.4f} ± {stdev([0.87, 0.85]):.4f}" in text
    assert "train.activation=relu" in text


def test_two_settings_are_compared_seed_by_seed():
    sigmoid, relu = by_setting(finished_runs(FOUR, ["*"])).values()
    lines = printed(paired(sigmoid, relu, "relu minus sigmoid")).splitlines()
    line = next(line for line in lines if "test accuracy" in line)
    # differences 0.01 and 0.05: mean 0.03, sd 0.02·√2, margin 12.7062 · 0.02
    assert line.split() == ["test", "accuracy", "2", "+0.0300", "±", "0.0283", "-0.2241", "to", "+0.2841"]
    assert len([line for line in lines if line.strip().startswith(tuple(METRICS))]) == len(METRICS)


def test_experiments_are_chosen_by_name_and_count_once():
    runs = finished_runs([*FOUR, experiment("other", "tanh", 0, 0.5)], ["act-?", "act-10"])
    assert [run.name for run in runs] == ["act-1", "act-2", "act-9", "act-10"]
    again = by_setting(finished_runs([*FOUR, experiment("again", "relu", 0, 0.88)], ["*"]))
    assert [len(metrics) for metrics in again.values()] == [2, 2]


def test_what_has_not_ended_well_is_left_out(capsys):
    failed = experiment("act-5", "tanh", 0, 0.1, state="failed")
    queued = {"name": "act-6", "revs": None, "executor": {"state": "queued"}}
    assert len(finished_runs([*FOUR, failed, queued], ["act-*"])) == 4
    assert "Left out: 2" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"called act-5; 1 queued, running or failed"):
        finished_runs([*FOUR, failed], ["act-5"])


def test_nothing_to_compare_is_said():
    with pytest.raises(UserError, match="no finished experiment of this commit is called relu"):
        finished_runs(FOUR, ["relu"])
    broken = experiment("act-7", "relu", 2, 0.9)
    del broken["revs"][0]["data"]["metrics"]["metrics/validation.json"]["data"]
    with pytest.raises(UserError, match="act-7 lacks metrics"):
        finished_runs([*FOUR, broken], ["*"])
    with pytest.raises(UserError, match="act-9 has other metrics"):
        by_setting(finished_runs([experiment("act-8", "relu", 0, 0.1), *FOUR], ["act-8", "act-9"]))


def test_seeds_that_do_not_pair_are_said():
    sigmoid, relu = by_setting(finished_runs(FOUR[:3], ["*"])).values()
    with pytest.raises(UserError, match=r"only one has run with preprocess\.seed=0, train\.seed=0"):
        paired(sigmoid, relu, "")
    sigmoid, relu = by_setting(finished_runs(FOUR[1:2] + FOUR[3:], ["*"])).values()
    with pytest.raises(UserError, match="run several"):
        paired(sigmoid, relu, "")


@pytest.mark.parametrize(
    ("df", "t"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (30, 2.0423), (120, 1.9799)]
)
def test_t_is_that_of_the_tables(df, t):
    assert round(t_quantile(df), 4) == t
