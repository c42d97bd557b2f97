"""`tools.compare`: runs grouped, averaged, paired and drawn. The tour shows that it reads what DVC writes."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image
from typer.testing import CliRunner

from pipeline.drawing.figures import use_own_settings
from pipeline.program.errors import UserError
from pipeline.store.tables import EpochRow, write_history
from tests.terminal import on_terminal
from tools.compare import compare as app
from tools.curves import MOST_CURVES, Curve, draw_curves, read_curve
from tools.experiments import METRICS, by_setting, find_setting, finished_runs
from tools.paired import compared_with, t_quantile

ROOT = Path(__file__).parents[1]


def experiment(name, activation, seed, accuracy, state="success", hidden_sizes=(50,), metrics=None, commit="0" * 40):
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
    revisions = [{"rev": commit, "data": data}]
    return {"name": name, "revs": revisions, "executor": {"state": state} if state else None}


FOUR = [
    experiment("act-10", "relu", 1, 0.90),
    experiment("act-9", "relu", 0, 0.88, state=None),
    experiment("act-2", "sigmoid", 1, 0.85),
    experiment("act-1", "sigmoid", 0, 0.87),
]
QUEUED = experiment("act-6", "tanh", 0, 0.1, state="queued")  # DVC gives it the metrics of its commit


def five_seeds(*activations):
    """Settings with five seeds each, all metrics different; and the metrics, (setting, seed, metric)."""
    values = np.random.default_rng(3).uniform(0.1, 0.9, (len(activations), 5, 5))
    runs = [
        experiment(f"{activation}-{seed}", activation, seed, 0, metrics=values[setting, seed].tolist())
        for setting, activation in enumerate(activations)
        for seed in range(5)
    ]
    return runs, values


T_OF_FIVE = 2.7764451052  # t of 4 degrees of freedom, from a table


def paired_rows(values, baseline):
    """Return the rows of the table of differences: `values` minus `baseline`, each (seed, metric)."""
    differences = values - baseline
    means, deviations = differences.mean(axis=0), differences.std(axis=0, ddof=1)
    margins = T_OF_FIVE * deviations / np.sqrt(5)
    return [
        [metric, "5", f"{mean:+.4f} ± {sd:.4f}", f"{mean - margin:+.4f} to {mean + margin:+.4f}"]
        for metric, mean, sd, margin in zip(METRICS, means, deviations, margins, strict=True)
    ]


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


def test_both_tables(dvc_shows):
    experiments, values = five_seeds("relu", "tanh")
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
    assert pairs == paired_rows(values[1], values[0])


def test_every_other_setting_is_compared_with_the_baseline(dvc_shows):
    experiments, values = five_seeds("relu", "sigmoid", "tanh")
    dvc_shows(experiments)
    result = run("--baseline", "train.activation=sigmoid")
    assert (result.exit_code, result.stderr) == (0, "")
    _, relu, tanh = re.split(r"\n(?=\S.*  minus  )", result.stdout)
    for text, activation, of_setting in ((relu, "relu", values[0]), (tanh, "tanh", values[2])):
        title, _, _, *pairs = rows(text)
        assert title == [f"train.activation={activation}", "minus", "train.activation=sigmoid, seed by seed"]
        assert pairs == paired_rows(of_setting, values[1])


def test_the_second_of_two_settings_may_be_the_baseline(dvc_shows):
    experiments, values = five_seeds("relu", "tanh")
    dvc_shows(experiments)
    result = run("--baseline", "train.activation=tanh")
    title, _, _, *pairs = rows(result.stdout)[5:]
    assert title == ["train.activation=relu", "minus", "train.activation=tanh, seed by seed"]
    assert pairs == paired_rows(values[0], values[1])


def test_pairs_have_the_same_seed_whatever_the_order():
    experiments, _ = five_seeds("relu", "tanh")
    relu, tanh = ("train.activation=relu",), ("train.activation=tanh",)
    first, *others = (
        compared_with(by_setting(finished_runs(order, ["*"])), relu)
        for order in (experiments, experiments[::-1], [*experiments[3:], *experiments[:3]])
    )
    assert others == [first, first]
    settings = by_setting(finished_runs(experiments, ["*"]))
    settings[tanh] = dict(reversed(settings[tanh].items()))
    assert compared_with(settings, relu) == first


def test_a_baseline_of_several_parameters():
    sizes = [("relu", [50]), ("relu", [50, 20]), ("tanh", [50, 20])]
    experiments = [experiment(f"x-{place}", a, 0, 0.9, hidden_sizes=size) for place, (a, size) in enumerate(sizes)]
    settings = by_setting(finished_runs(experiments, ["*"]))
    small, relu, tanh = settings
    assert find_setting(settings, ["train.activation=tanh"]) == tanh
    assert find_setting(settings, ["train.hidden_sizes=[50]"]) == small
    assert find_setting(settings, ["train.hidden_sizes=[50, 20]", "train.activation=relu"]) == relu
    assert find_setting(settings, ["train.activation=relu", "train.hidden_sizes=[50,20]"]) == relu, "as people type it"


def test_a_baseline_is_written_as_in_params_yaml(dvc_shows):
    experiments = [experiment(f"a-{n}", "relu", n % 2, 0.8) for n in range(4)]
    for n, one in enumerate(experiments):
        train = one["revs"][0]["data"]["params"]["params.yaml"]["data"]["train"]
        train |= {"nesterov": n > 1, "momentum": 0.9 if n > 1 else 0.5}
    settings = by_setting(finished_runs(experiments, ["*"]))
    first, second = settings
    assert second == ("train.nesterov=true", "train.momentum=0.9")
    for written in ("train.nesterov=true", "train.momentum=0.90", "train.momentum=9e-1"):
        assert find_setting(settings, [written]) == second
    assert find_setting(settings, ["train.nesterov=false"]) == first


def test_baseline_that_is_not_one_setting(dvc_shows):
    dvc_shows([*many_parameters([800]), experiment("more", "relu", 0, 0.5)])
    assert refusal(run("--baseline", "train.activation=tanh")) == (
        "error: no setting has train.activation=tanh; choose from train.activation=relu, train.activation=sigmoid, "
        "train.hidden_sizes=[50], train.hidden_sizes=[800].\n"
    )
    assert refusal(run("--baseline", "train.activation=relu")) == (
        "error: several settings have train.activation=relu; "
        "add one of train.hidden_sizes=[50], train.hidden_sizes=[800].\n"
    )
    dvc_shows(FOUR[:2])
    assert refusal(run("--baseline", "train.activation=relu")) == (
        "error: no setting has train.activation=relu: these experiments differ in nothing but their seeds.\n"
    )


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
        assert [row[-2:] for row in summary_rows[3:] if "±" in row[-1]][:5] == [
            [metric, f"{mean} ± {sd}"]
            for metric, mean, sd in zip(
                METRICS, ["0.9050", "0.5000"] * 2 + ["0.9050"], ["0.0071", "0.0000"] * 2 + ["0.0071"], strict=True
            )
        ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_comparisons_with_a_baseline_fit_80_columns(dvc_shows):
    experiments, values = five_seeds("relu", "sigmoid", "tanh")
    dvc_shows(experiments)
    text = on_terminal(80, "tools.compare", "--baseline", "train.activation=relu")
    assert max(map(len, text.splitlines())) <= 80
    shown = rows(text)
    for of_setting in values[1:]:
        for row in paired_rows(of_setting, values[0]):
            assert row in shown, "on one line"


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


UNPAIRED = (
    "train.activation=relu and train.activation=sigmoid have not run with the same seeds; "
    "only one has run with preprocess.seed=0, train.seed=0."
)
ALONE = "with one seed there is no spread to compare with; run several."


@pytest.mark.parametrize(("names", "reason"), [(["act-1", "act-2", "act-10"], UNPAIRED), (["act-2", "act-10"], ALONE)])
def test_seeds_that_do_not_pair(dvc_shows, names, reason):
    dvc_shows(FOUR)
    assert refusal(run(*names, "--baseline", "train.activation=sigmoid")) == f"error: {reason}\n"
    unasked = run(*names)
    assert (unasked.exit_code, unasked.stderr) == (0, f"Not compared seed by seed: {reason}\n")
    assert [row[0] for row in rows(unasked.stdout)[3:]] == ["train.activation=sigmoid", "train.activation=relu"]


# JSON and CSV


def test_json_has_the_runs_and_the_numbers_of_the_tables(dvc_shows):
    experiments, values = five_seeds("relu", "sigmoid", "tanh")
    dvc_shows(experiments)
    result = run("--json", "--baseline", "train.activation=sigmoid")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert (document["baseline"], document["confidence"]) == ({"train.activation": "sigmoid"}, 0.95)
    assert len(document["settings"]) == 3
    for setting, activation, of_setting in zip(document["settings"], ("relu", "sigmoid", "tanh"), values, strict=True):
        assert setting["parameters"] == {"train.activation": activation}
        assert setting["runs"] == [
            {
                "experiment": f"{activation}-{seed}",
                "seeds": {"preprocess.seed": 0, "train.seed": seed},
                "metrics": dict(zip(METRICS, of_setting[seed].tolist(), strict=True)),
            }
            for seed in range(5)
        ]
        assert list(setting["mean"]) == list(setting["sd"]) == list(METRICS)
        np.testing.assert_allclose(list(setting["mean"].values()), of_setting.mean(axis=0))
        np.testing.assert_allclose(list(setting["sd"].values()), of_setting.std(axis=0, ddof=1))
        if activation == "sigmoid":
            assert setting["minus_baseline"] is None
            continue
        differences = of_setting - values[1]
        mean, sd = differences.mean(axis=0), differences.std(axis=0, ddof=1)
        margin = T_OF_FIVE * sd / np.sqrt(5)
        for place, metric in enumerate(METRICS):
            expected = {"pairs": 5, "mean": mean[place], "sd": sd[place]}
            expected |= {"low": (mean - margin)[place], "high": (mean + margin)[place]}
            assert setting["minus_baseline"][metric] == pytest.approx(expected)


def test_json_of_one_seed_and_without_a_baseline(dvc_shows):
    dvc_shows([*FOUR, experiment("wide", "relu", 0, 0.5, hidden_sizes=(800, 20))])
    document = json.loads(run("--json").stdout)
    assert document["baseline"] is None
    assert [setting["minus_baseline"] for setting in document["settings"]] == [None] * 3
    wide = document["settings"][-1]
    assert wide["parameters"] == {"train.hidden_sizes": [800, 20], "train.activation": "relu"}, "a list stays a list"
    assert wide["mean"]["test accuracy"] == 0.5
    assert set(wide["sd"].values()) == {None}
    two = json.loads(run("--json", "act-*").stdout)
    assert two["baseline"] == {"train.activation": "sigmoid"}, "the first of two settings"


def test_csv_has_a_row_for_each_run(dvc_shows):
    dvc_shows([*FOUR, experiment("wide", "relu", 2, 0.5, hidden_sizes=(800, 20)), QUEUED])
    result = run("--csv")
    assert (result.exit_code, result.stderr) == (0, "Left out: 1 queued, running or failed.\n")
    table = list(csv.reader(io.StringIO(result.stdout)))
    assert table == [
        ["experiment", "train.hidden_sizes", "train.activation", "preprocess.seed", "train.seed", *METRICS],
        ["act-1", "[50]", "sigmoid", "0", "0", "0.87", "0.5", "0.87", "0.5", "0.87"],
        ["act-2", "[50]", "sigmoid", "0", "1", "0.85", "0.5", "0.85", "0.5", "0.85"],
        ["act-9", "[50]", "relu", "0", "0", "0.88", "0.5", "0.88", "0.5", "0.88"],
        ["act-10", "[50]", "relu", "0", "1", "0.9", "0.5", "0.9", "0.5", "0.9"],
        ["wide", "[800, 20]", "relu", "0", "2", "0.5", "0.5", "0.5", "0.5", "0.5"],
    ]


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_numbers_for_programs_keep_every_bit(dvc_shows, form):
    experiments, values = five_seeds("relu")
    dvc_shows(experiments)
    result = run(form)
    if form == "--json":
        runs = json.loads(result.stdout)["settings"][0]["runs"]
        numbers = [list(one["metrics"].values()) for one in runs]
    else:
        numbers = [[float(row[metric]) for metric in METRICS] for row in csv.DictReader(io.StringIO(result.stdout))]
    np.testing.assert_array_equal(numbers, values[0])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--json", "--csv"], "--json and --csv exclude each other; give one of them."),
        (
            ["--csv", "--baseline", "train.activation=relu"],
            "--csv prints the runs and no differences; leave out --baseline, or use --json.",
        ),
        (["--figure", "act.pdf"], "act.pdf: the figure is a PNG file; give a name that ends in .png."),
    ],
)
def test_options_that_contradict(dvc_shows, options, reason):
    dvc_shows(FOUR)
    assert refusal(run(*options)) == f"error: {reason}\n"
    assert not Path("act.pdf").exists()


# The figure


@pytest.fixture
def commit_history(tmp_path, monkeypatch):
    """A function that commits a history, its text or its validation accuracies by epoch. It returns the commit."""
    monkeypatch.chdir(tmp_path)

    def git(*words):
        settings = ("-c", "user.name=Somebody", "-c", "user.email=a@example.com", "-c", "core.autocrlf=false")
        environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull}
        result = subprocess.run(["git", *settings, *words], env=environment, capture_output=True, text=True, check=True)
        return result.stdout.strip()

    git("init", "--quiet")

    def commit(history):
        path = Path("metrics/history.csv")
        if isinstance(history, str):
            path.parent.mkdir()
            path.write_text(history, encoding="utf-8")
        else:
            write_history(path, [EpochRow(epoch, 5 * epoch, 0.4, 0.3, 0.2, share) for epoch, share in history.items()])
        git("add", "metrics")
        git("commit", "--quiet", "--allow-empty", "--message", "A run")
        return git("rev-parse", "HEAD")

    return commit


def by_epoch(accuracies):
    return dict(enumerate(accuracies.tolist(), start=1))


def test_a_curve_is_the_mean_and_spread_of_the_seeds_at_each_epoch(commit_history):
    values = np.random.default_rng(4).uniform(0.1, 0.9, (3, 20))
    runs = finished_runs(
        [experiment(f"a-{n}", "relu", n, 0.9, commit=commit_history(by_epoch(row))) for n, row in enumerate(values)],
        ["*"],
    )
    curve = read_curve(runs)
    np.testing.assert_array_equal(curve.epochs, np.arange(1, 21))
    np.testing.assert_allclose(curve.mean, values.mean(axis=0))
    np.testing.assert_allclose(curve.sd, values.std(axis=0, ddof=1))
    alone = read_curve(runs[1:2])
    assert (curve.runs, alone.runs) == (3, 1)
    np.testing.assert_array_equal(alone.mean, values[1])


def test_a_curve_has_the_epochs_that_all_seeds_have(commit_history):
    """A run may stop early, and a long history has every k-th epoch."""
    short = commit_history({1: 0.5, 2: 0.6, 3: 0.7, 4: 0.8})
    sparse = commit_history({2: 0.4, 4: 0.6, 6: 0.8})
    runs = [experiment("a-0", "relu", 0, 0.9, commit=short), experiment("a-1", "relu", 1, 0.9, commit=sparse)]
    curve = read_curve(finished_runs(runs, ["*"]))
    np.testing.assert_array_equal(curve.epochs, [2, 4])
    np.testing.assert_allclose(curve.mean, [0.5, 0.7])


def test_seeds_without_a_common_epoch_have_no_curve(dvc_shows, commit_history):
    commits = commit_history({1: 0.5, 2: 0.6}), commit_history({3: 0.4, 6: 0.6})
    dvc_shows([experiment(f"a-{n}", "relu", n, 0.9, commit=commit) for n, commit in enumerate(commits)])
    assert "the experiments a-0, a-1 have no epoch in common" in refusal(run("--figure", "act.png"))
    assert not Path("act.png").exists()


def test_two_seeds_have_a_band(commit_history):
    commits = commit_history({1: 0.5, 2: 0.6}), commit_history({1: 0.7, 2: 0.6})
    runs = [experiment(f"a-{n}", "relu", n, 0.9, commit=commit) for n, commit in enumerate(commits)]
    curve = read_curve(finished_runs(runs, ["*"]))
    np.testing.assert_allclose(curve.sd, [0.1 * 2**0.5, 0], atol=1e-12)
    figure = draw_curves({(): curve})
    (axes,), (legend,) = figure.axes, figure.legends
    assert len(axes.collections) == 1
    assert [text.get_text() for text in legend.get_texts()] == ["all (2 seeds)"]


def some_curves(number, epochs=40, runs=5):
    """Return curves like those of a training, with different lengths: steep at first, then almost level."""
    source = np.random.default_rng(5)
    curves = {}
    for place in range(number):
        numbers = np.arange(1.0, epochs + place + 1)
        mean = 0.98 - 0.01 * source.random() - 0.5 / numbers**2
        sd = source.uniform(0.001, 0.005, len(numbers)) if runs > 1 else np.zeros(len(numbers))
        curves[(f"train.learning_rate={place}", "train.momentum=0.9")] = Curve(runs, numbers, mean, sd)
    return curves


def edges(band):
    """Return the epochs of a band, and its lower and upper edge."""
    (path,) = band.get_paths()
    epochs = np.unique(path.vertices[:, 0])
    at = [path.vertices[path.vertices[:, 0] == epoch, 1] for epoch in epochs]
    return epochs, np.array([y.min() for y in at]), np.array([y.max() for y in at])


def test_the_figure_shows_each_curve_with_its_band_and_its_name():
    curves = some_curves(3)
    figure = draw_curves(curves)
    (axes,), (legend,) = figure.axes, figure.legends
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "accuracy (share of images classified correctly)")
    assert "Validation accuracy" in legend.get_title().get_text()
    for (setting, curve), line, band, text, handle in zip(
        curves.items(), axes.lines, axes.collections, legend.get_texts(), legend.get_lines(), strict=True
    ):
        np.testing.assert_array_equal(line.get_xdata(), curve.epochs)
        np.testing.assert_array_equal(line.get_ydata(), curve.mean)
        epochs, low, high = edges(band)
        np.testing.assert_array_equal(epochs, curve.epochs)
        np.testing.assert_array_equal(low, curve.mean - curve.sd)
        np.testing.assert_array_equal(high, curve.mean + curve.sd)
        assert to_hex(band.get_facecolor()[0]).upper() == line.get_color() == handle.get_color()
        assert text.get_text() == f"{', '.join(setting)} (5 seeds)"


def test_one_seed_has_no_band_and_one_epoch_is_visible():
    (several,) = some_curves(1).values()
    figure = draw_curves(some_curves(1, epochs=1, runs=1) | {(): several})
    (axes,), (legend,) = figure.axes, figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "train.learning_rate=0, train.momentum=0.9 (1 seed)",
        "all (5 seeds)",
    ]
    assert len(axes.collections) == 1
    assert [line.get_marker() not in ("", "None") for line in axes.lines] == [True, False]


@pytest.mark.parametrize(("number", "epochs"), [(1, 1), (2, 3), (10, 90)])
def test_late_differences_fill_the_plot(number, epochs):
    curves = some_curves(number, epochs)
    (axes,) = draw_curves(curves).axes
    late = [curve.epochs > len(curve.epochs) / 4 for curve in curves.values()]
    low = min((curve.mean - curve.sd)[some].min() for curve, some in zip(curves.values(), late, strict=True))
    high = max((curve.mean + curve.sd).max() for curve in curves.values())
    bottom, top = axes.get_ylim()
    assert bottom < low < high < top
    assert high - low > 0.9 * (top - bottom)
    assert axes.get_xlim()[0] < 1
    assert axes.get_xlim()[1] > epochs + number - 1


def test_equal_accuracies_can_be_drawn():
    level = Curve(2, np.arange(1.0, 4), np.full(3, 1.0), np.zeros(3))
    (axes,) = draw_curves({(): level}).axes
    bottom, top = axes.get_ylim()
    assert bottom < 1 < top


def test_no_two_curves_look_the_same():
    figure = draw_curves(some_curves(MOST_CURVES))
    (axes,) = figure.axes
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == len(axes.lines) == MOST_CURVES >= 10
    with pytest.raises(UserError, match=f"at most {MOST_CURVES} settings, not {MOST_CURVES + 1}"):
        draw_curves(some_curves(MOST_CURVES + 1))


@pytest.mark.parametrize("parameters", [1, 12])
def test_the_legend_is_on_the_page_and_covers_no_curve(parameters):
    use_own_settings()
    long = tuple(f"train.parameter_{number}=[800, 800]" for number in range(parameters))
    curves = {(*setting, *long): curve for setting, curve in some_curves(10).items()}
    figure = draw_curves(curves)
    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    names, plot, page = legend.get_window_extent(), axes.get_window_extent(), figure.bbox
    assert names.y0 > plot.y1
    assert page.x0 <= names.x0 < names.x1 <= page.x1
    assert names.y1 <= page.y1
    assert plot.height > 200


def test_figure_beside_the_tables(dvc_shows, commit_history):
    histories = [commit_history({1: 0.5, 2: accuracy}) for accuracy in (0.6, 0.7, 0.8, 0.9)]
    seeds = [("relu", 0), ("relu", 1), ("tanh", 0), ("tanh", 1)]
    dvc_shows(
        [
            experiment(f"{a}-{seed}", a, seed, 0.9, commit=commit)
            for (a, seed), commit in zip(seeds, histories, strict=True)
        ]
    )
    tables = run().stdout
    for form, out in ([], "one.png"), (["--csv"], "folder/two.PNG"):
        result = run(*form, "--figure", out)
        assert (result.exit_code, result.stderr) == (0, "")
        assert form or result.stdout == tables
        with Image.open(out) as image:
            assert image.format == "PNG"
            assert image.width == 900
    assert Path("one.png").read_bytes() == Path("folder/two.PNG").read_bytes()


@pytest.mark.parametrize("history", [None, "", "epoch\n1\n"])
def test_experiment_without_a_usable_history(dvc_shows, commit_history, history):
    commit = "0" * 40 if history is None else commit_history(history)
    Path("old.png").write_bytes(b"old")
    dvc_shows([experiment("act-7", "relu", 2, 0.9, commit=commit)])
    assert refusal(run("--figure", "old.png")) == (
        "error: the experiment act-7 lacks a usable metrics/history.csv; remove it or run it again.\n"
    )
    assert Path("old.png").read_bytes() == b"old"


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
    assert not re.search(r"\b(numpy|dvc|matplotlib|tools\.terminal|tools\.curves)\b", result.stderr)
