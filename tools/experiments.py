"""DVC's experiments: the parameters and metrics of the finished ones, and their settings, each with several seeds."""

import fnmatch
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer

from pipeline.program.errors import UserError
from pipeline.settings.plain_yaml import parse_plain_yaml

METRICS = {  # a name for people; the file and the key
    "validation accuracy": ("metrics/validation.json", "accuracy"),
    "validation loss": ("metrics/validation.json", "loss"),
    "test accuracy": ("metrics/test.json", "accuracy"),
    "test loss": ("metrics/test.json", "loss"),
    "test macro F1": ("metrics/test.json", "macro_f1"),
}


@dataclass(frozen=True)
class Run:
    """A finished experiment.

    Attributes:
        name: its name in DVC.
        revision: its commit in Git.
        parameters: its parameters without the seeds, by "section.key".
        seeds: its seeds, by "section.key".
        metrics: its metrics, by the names in METRICS.
    """

    name: str
    revision: str
    parameters: dict[str, Any]
    seeds: dict[str, Any]
    metrics: dict[str, float]


Params = tuple[str, ...]  # such as ("train.activation=relu", "train.batch_size=100")
BySeeds = dict[Params, Run]  # the runs of one setting
Settings = dict[Params, BySeeds]


def dvc_experiments() -> list[dict[str, Any]]:
    """Return HEAD's experiments as DVC describes them."""
    show = [sys.executable, "-m", "dvc", "exp", "show", "--json"]
    result = subprocess.run(show, capture_output=True, text=True, encoding="utf-8")
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["it gave no reason"]
        reason = next((line for line in lines if line.startswith("ERROR: ")), lines[-1]).removeprefix("ERROR: ")
        raise UserError(f"`dvc exp show` failed: {reason.rstrip('.')}.")
    commits = json.loads(result.stdout)
    return [experiment for commit in commits for experiment in commit["experiments"] or []]


def finished_runs(experiments: list[dict[str, Any]], names: list[str]) -> list[Run]:
    """Read the finished experiments with one of the names, sorted by name.

    Raises:
        UserError: a name matches no finished experiment, or an experiment has no metrics.
    """
    # DVC gives queued and failed experiments the metrics of their commit
    finished = [
        one for one in experiments if one["revs"] and (one["executor"] or {}).get("state", "success") == "success"
    ]
    for name in names:
        if not _called([name], finished):
            unfinished = len(_called([name], experiments))
            why = f"; {unfinished} queued, running or failed: see `dvc queue status`" if unfinished else ""
            called = "" if name == "*" else f" called {name}"
            raise UserError(f"this commit has no finished experiment{called}{why}.")
    chosen = _called(names, finished)
    if left_out := len(_called(names, experiments)) - len(chosen):
        typer.echo(f"Left out: {left_out} queued, running or failed.", err=True)
    return sorted(map(_run, chosen), key=lambda run: _with_numbers(run.name))


def _called(names: list[str], experiments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in experiments if any(fnmatch.fnmatchcase(one["name"] or "", name) for name in names)]


def _with_numbers(name: str) -> list[str | int]:
    """Split a name into text and numbers, to sort activation-10 after activation-9."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


def _run(experiment: dict[str, Any]) -> Run:
    name, commit = experiment["name"], experiment["revs"][0]
    try:
        sections = commit["data"]["params"]["params.yaml"]["data"]
        values = {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}
        files = commit["data"]["metrics"]
        metrics = {metric: float(files[file]["data"][key]) for metric, (file, key) in METRICS.items()}
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"the experiment {name} lacks metrics or parameters; remove it or run it again.") from None
    seeds = {key: value for key, value in values.items() if key.endswith(".seed")}
    parameters = {key: value for key, value in values.items() if key not in seeds}
    return Run(name, commit["rev"], parameters, seeds, metrics)


def by_setting(runs: list[Run]) -> Settings:
    """Return the runs by setting and seeds. A setting keeps only the parameters that differ between the runs.

    Raises:
        UserError: two runs have the same parameters and different metrics.
    """
    common = set.intersection(*(set(_texts(run.parameters)) for run in runs))
    settings: Settings = {}
    for run in runs:
        differing = tuple(param for param in _texts(run.parameters) if param not in common)
        same = settings.setdefault(differing, {}).setdefault(_texts(run.seeds), run)
        if same.metrics != run.metrics:
            raise UserError(
                f"{run.name} has other metrics than an experiment with the same parameters: their code or data differ."
            )
    return settings


def _texts(parameters: Mapping[str, Any]) -> Params:
    """Return parameters as `-S` takes them."""
    return tuple(f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in parameters.items())


def _read(param: str) -> tuple[str, Any]:
    """Return the key of a parameter such as "train.seed=3", and its value; the text itself, if it is not YAML."""
    key, _, text = param.partition("=")
    try:
        return key.strip(), parse_plain_yaml(text)
    except UserError:
        return key.strip(), text


def find_setting(settings: Settings, params: list[str]) -> Params:
    """Return the only setting that has all these parameters. Their values are YAML: [50, 20] is [50,20].

    Raises:
        UserError: no setting has them, or several have.
    """
    wanted = [_read(param) for param in params]
    found = [setting for setting in settings if all(param in map(_read, setting) for param in wanted)]
    if len(found) == 1:
        return found[0]
    given, rest = ", ".join(params), found or settings
    if len(settings) == 1:
        raise UserError(f"no setting has {given}: these experiments differ in nothing but their seeds.")
    choice = ", ".join(sorted({param for setting in rest for param in setting if not all(param in s for s in rest)}))
    if found:
        raise UserError(f"several settings have {given}; add one of {choice}.")
    raise UserError(f"no setting has {given}; choose from {choice}.")
