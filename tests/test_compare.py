"""`tools.compare`: runs grouped, averaged and paired. The tour shows that it reads what DVC writes."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.program.errors import UserError
from tests.terminal import on_terminal
from tools.compare import METRICS, by_setting, finished_runs, paired, t_quantile
from tools.compare import compare as app

ROOT = Path(__file__).parents[1]


def experiment(name, activation, seed, accuracy, state="success", hidden_sizes=(50,), metrics=None):
    """Return an experiment as `dvc exp show --json` gives it, with the keys that are read."""
    train = {"hidden_sizes": list(hidden_sizes), "activation": activation, "seed": seed}
    metrics = metrics or (accuracy, 0.5, accuracy, 0.5, accuracy)
    validation_accuracy, validation_loss, test_accuracy, test_loss, macro_f1 = metrics
    data = {
        "params": {"params.yaml": {"data": {"preprocess": {"seed": 0}, "train": train}}},
        "metrics": {
            "metrics/train.json": {"data": {"accuracy": 1.0, "loss": 0.0}},
            "metrics/validation.json": {"data": {"accuracy": validation_accuracy, "loss": validation_loss}},
            "metrics/test.json": {"data": {"accuracy": test_accuracy, "loss": test_loss, "macro_f1": macro_f1}},
        },
    }
    return {"name": name, "revs": [{"data": data}], "executor": {"state": state} if state else None}


FOUR = [
    experiment("act-10", "relu", 1, 0.90),
    experiment("act-9", "relu", 0, 0.88, state=None),
    experiment("act-2", "sigmoid", 1, 0.85),
    experiment("act-1", "sigmoid", 0, 0.87),
]
QUEUED = experiment("act-6", "tanh", 0, 0.1, state="queued")  # DVC gives it the metrics of its commit


def five_seeds():
    """Two settings with five seeds each, all metrics different; and the metrics, (setting, seed, metric)."""
    values = np.random.default_rng(3).uniform(0.1, 0.9, (2, 5, 5))
    runs = [
        experiment(f"{activation}-{seed}", activation, seed, 0, metrics=values[setting, seed].tolist())
        for setting, activation in enumerate(("relu", "tanh"))
        for seed in range(5)
    ]
    return runs, values


@pytest.fixture
def dvc_shows(tmp_path, monkeypatch):
    """A function that makes `python -m dvc exp show --json` print these experiments of two commits."""
    monkeypatch.chdir(tmp_path)

    def show(experiments):
        commits = [{"experiments": None}, {"experiments": experiments}]
        script = f"import sys\nassert sys.argv[1:] == ['exp', 'show', '--json']\nprint({json.dumps(commits)!r})\n"
        Path("dvc.py").write_text(script, encoding="utf-8")

    return show


def run(*names):
    return CliRunner().invoke(app, names)


def refusal(result):
    """Return the one sentence with which the command ended."""
    assert (result.exit_code, result.stdout) == (1, "")
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.count("\n") == 1
    return result.stderr


def rows(text):
    """Return the cells of each line with text: two spaces or more separate them."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines() if line.strip()]


def printed(table, width=200) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(table)
    return console.file.getvalue()


def test_both_tables(dvc_shows):
    experiments, values = five_seeds()
    dvc_shows(experiments)
    result = run()
    assert (result.exit_code, result.stderr) == (0, "")
    title, header, _, relu, tanh, pairs_title, pairs_header, _, *pairs = rows(result.stdout)
    assert title == ["Mean ± standard deviation over the seeds"]
    assert header == ["setting", "seeds", *METRICS]
    for row, activation, of_setting in ((relu, "relu", values[0]), (tanh, "tanh", values[1])):
        expected = zip(of_setting.mean(axis=0), of_setting.std(axis=0, ddof=1), strict=True)
        assert row == [f"train.activation={activation}", "5", *(f"{mean:.4f} ± {sd:.4f}" for mean, sd in expected)]

    assert pairs_title == ["train.activation=tanh", "minus", "train.activation=relu, seed by seed"]
    assert pairs_header == ["metric", "pairs", "mean ± sd", "95% confidence interval of the mean"]
    differences = values[1] - values[0]
    means, deviations = differences.mean(axis=0), differences.std(axis=0, ddof=1)
    margins = 2.776445 * deviations / np.sqrt(5)  # t of 4 degrees of freedom, from a table
    assert pairs == [
        [metric, "5", f"{mean:+.4f} ± {sd:.4f}", f"{mean - margin:+.4f} to {mean + margin:+.4f}"]
        for metric, mean, sd, margin in zip(header[2:], means, deviations, margins, strict=True)
    ]


def test_pairs_have_the_same_seed_whatever_the_order():
    experiments, _ = five_seeds()
    tables = [
        printed(paired(*by_setting(finished_runs(order, ["*"])).values(), ""))
        for order in (experiments, experiments[::-1], [*experiments[3:], *experiments[:3]])
    ]
    assert tables[0] == tables[1] == tables[2]
    first, second = by_setting(finished_runs(experiments, ["*"])).values()
    turned = dict(reversed(second.items()))
    assert printed(paired(first, turned, "")) == tables[0]


def test_three_settings_have_no_second_table(dvc_shows):
    dvc_shows([*FOUR, experiment("other", "[b]:smile:", 0, 0.5)])
    result = run()
    assert (result.exit_code, result.stderr) == (0, "")
    lines = rows(result.stdout)
    assert [line[:2] for line in lines[3:]] == [
        ["train.activation=sigmoid", "2"],
        ["train.activation=relu", "2"],
        ["train.activation=[b]:smile:", "1"],  # printed as it is
    ]
    assert result.stdout.count("\n train.activation=") == 3, "aligned at the left"
    _, head, *body = (line for line in result.stdout.splitlines() if "seeds" in line or "activation=" in line)
    units = head.index("seeds") + len("seeds") - 1
    assert [line[units - 1 : units + 1] for line in body] == [" 2", " 2", " 1"], "aligned at the right"
    assert lines[-1][2:] == ["0.5000"] * len(METRICS), "one run has no spread"


def test_runs_that_differ_in_seeds_alone_are_one_setting(dvc_shows):
    dvc_shows(FOUR[:2])
    assert rows(run().stdout)[-1][:3] == ["all", "2", f"0.8900 ± {0.02 / 2**0.5:.4f}"]


def many_parameters(sizes):
    sizes = [("relu", sizes), ("sigmoid", [50])]
    return [experiment(f"x-{seed}{a}", a, seed, 0.9 + seed / 100, hidden_sizes=h) for a, h in sizes for seed in (0, 1)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize("columns", [120, 80, 40])
def test_nothing_is_cut_on_a_narrow_terminal(dvc_shows, columns):
    dvc_shows(many_parameters([800, 800, 800, 800]))
    text = on_terminal(columns, "tools.compare")
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= columns
    cells = "".join(row[0] for row in rows(text.split("minus")[0]))
    settings = "train.hidden_sizes=[800,800,800,800]train.activation=relu", "train.hidden_sizes=[50]train.activation"
    assert all(setting in cells.replace(" ", "") for setting in settings)
    if columns == 80:
        assert re.search(r"test macro F1 [^\n]*\n +\n train\.hidden_sizes=\[50\] ", text), (
            "a blank line between settings"
        )
        summary_rows = rows(text)
        assert summary_rows[1] == ["setting", "seeds", "metric", "mean ± sd"]
        assert summary_rows[3][1:] == ["2", "validation accuracy", f"0.9050 ± {0.01 / 2**0.5:.4f}"]
        assert [row[-2:] for row in summary_rows[3:8]] == [
            [metric, f"{mean} ± {sd}"]
            for metric, mean, sd in zip(
                METRICS, ["0.9050", "0.5000"] * 2 + ["0.9050"], ["0.0071", "0.0000"] * 2 + ["0.0071"], strict=True
            )
        ]


def test_a_pipe_has_no_edge(dvc_shows):
    dvc_shows(many_parameters([800] * 40))
    assert f"train.hidden_sizes={[800] * 40} " in run().stdout


def test_experiments_are_sorted_by_name_and_number():
    assert [run.name for run in finished_runs(FOUR, ["*"])] == ["act-1", "act-2", "act-9", "act-10"]
    settings = by_setting(finished_runs(FOUR, ["*"]))
    assert list(settings) == [("train.activation=sigmoid",), ("train.activation=relu",)]
    seeds = [("preprocess.seed=0", "train.seed=0"), ("preprocess.seed=0", "train.seed=1")]
    assert all(list(metrics) == seeds for metrics in settings.values())


def test_experiments_are_chosen_by_name_and_count_once(dvc_shows):
    experiments = [*FOUR, experiment("other", "tanh", 0, 0.5), experiment("again", "relu", 0, 0.88)]
    runs = finished_runs(experiments, ["act-?", "act-10", "act-1"])
    assert [run.name for run in runs] == ["act-1", "act-2", "act-9", "act-10"]
    dvc_shows(experiments)
    chosen = run("act-*", "again")
    assert chosen.exit_code == 0
    assert [row[:2] for row in rows(chosen.stdout)[3:5]] == [
        ["train.activation=sigmoid", "2"],
        ["train.activation=relu", "2"],
    ]
    mean, sd = fmean([0.88, 0.90]), stdev([0.88, 0.90])
    assert rows(chosen.stdout)[4][2] == f"{mean:.4f} ± {sd:.4f}"


def test_unfinished_experiments_are_left_out(dvc_shows):
    failed = experiment("act-5", "tanh", 0, 0.1, state="failed")
    nameless = QUEUED | {"name": None}
    without_result = {"name": "act-4", "revs": None, "executor": None}
    dvc_shows([*FOUR, failed, QUEUED, nameless, without_result])
    result = run("act-*")
    assert result.stderr == "Left out: 3 queued, running or failed.\n"
    assert "tanh" not in result.stdout
    assert refusal(run("act-1", "act-5")) == (
        "error: this commit has no finished experiment called act-5; "
        "1 queued, running or failed: see `dvc queue status`.\n"
    )


def test_each_name_must_match(dvc_shows):
    dvc_shows(FOUR)
    for names in (["tanh-*"], ["act-*", "tanh-*"], ["tanh-*", "act-*"]):
        assert refusal(run(*names)) == "error: this commit has no finished experiment called tanh-*.\n"
    dvc_shows([])
    assert refusal(run()) == "error: this commit has no finished experiment.\n"
    dvc_shows([QUEUED])
    assert "experiment; 1 queued, running or failed" in refusal(run())


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": None},
        {"metrics": {}},
        {"metrics": {"metrics/validation.json": {"data": {"accuracy": 1, "loss": 1}}}},
        {"params": {}},
        {"params": {"params.yaml": {"data": {"train": 5}}}},
    ],
)
def test_experiment_without_metrics_or_parameters(dvc_shows, change):
    broken = experiment("act-7", "relu", 2, 0.9)
    broken["revs"][0]["data"] |= change
    dvc_shows([*FOUR, broken])
    assert refusal(run()) == "error: the experiment act-7 lacks metrics or parameters; remove it or run it again.\n"


def test_experiment_without_data(dvc_shows):
    dvc_shows([*FOUR, {"name": "act-7", "revs": [{"data": None}], "executor": None}])
    assert "the experiment act-7 lacks metrics or parameters" in refusal(run())


def test_same_parameters_with_other_metrics(dvc_shows):
    dvc_shows([experiment("act-8", "relu", 0, 0.1), *FOUR])
    assert refusal(run("act-8", "act-9")) == (
        "error: act-9 has other metrics than an experiment with the same parameters: their code or data differ.\n"
    )


def test_seeds_that_do_not_pair():
    sigmoid, relu = by_setting(finished_runs(FOUR[:3], ["*"])).values()
    with pytest.raises(UserError, match=r"only one has run with preprocess\.seed=0, train\.seed=0\.$"):
        paired(sigmoid, relu, "")
    sigmoid, relu = by_setting(finished_runs(FOUR[1:2] + FOUR[3:], ["*"])).values()
    with pytest.raises(UserError, match="run several"):
        paired(sigmoid, relu, "")


def test_dvc_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sentence = refusal(run())
    assert sentence.startswith("error: `dvc exp show` failed: you are not inside of a DVC repository")
    assert sentence.endswith(".\n")


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        (
            "WARNING: a\nERROR: unexpected error - no space.\n\nHaving any troubles? Hit us up!",
            "unexpected error - no space",
        ),
        ("Traceback\nZeroDivisionError: division", "ZeroDivisionError: division"),
        ("", "it gave no reason"),
    ],
)
def test_dvc_fails_in_other_ways(tmp_path, monkeypatch, stderr, reason):
    monkeypatch.chdir(tmp_path)
    Path("dvc.py").write_text(f"import sys\nprint('[]')\nsys.stderr.write({stderr!r})\nsys.exit(255)")
    assert refusal(run()) == f"error: `dvc exp show` failed: {reason}.\n"


@pytest.mark.parametrize(
    ("df", "t"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (30, 2.0423), (120, 1.9799)]
)
def test_t_is_that_of_the_tables(df, t):
    assert round(t_quantile(df), 4) == t


def test_help_imports_nothing_slow():
    command = [sys.executable, "-X", "importtime", "-m", "tools.compare", "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0
    assert "* and ?" in result.stdout
    assert not re.search(r"\b(numpy|dvc|tools\.terminal)\b", result.stderr)
