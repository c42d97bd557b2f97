"""`tools.verify` and `tools.check`, on a small DVC project: what they find, say and return."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.support.project import Project
from tools import check, verify

STAGES = {
    "double": {
        "cmd": "python -c \"open('doubled', 'w').write(open('given').read() * 2)\"",
        "deps": ["given"],
        "params": ["twice"],
        "outs": ["doubled"],
    },
    "copy": {
        "cmd": "python -c \"import os, shutil; os.makedirs('copies/b'); "
        "[shutil.copy('doubled', f'copies/{name}') for name in ('b/c', 'b-c')]\"",
        "deps": ["doubled"],
        "outs": ["copies"],
    },
    "score": {
        "cmd": "python -c \"import os; os.makedirs('figures', exist_ok=True); "
        "[open(name, 'wb').write(b'8\\15\\12') "
        "for name in ('score.json', 'figures/7', 'figures/8')]\"",
        "deps": ["doubled"],
        "metrics": [{"score.json": {"cache": False}}],
        "plots": [{"figures": {"cache": False}}],
    },
}


def copying(source: str, out: str, result: str) -> dict:
    """Return a stage that copies a file into an output, and into a result."""
    code = (
        f"[open(out, 'w').write(open('{source}').read()) for out in ('{out}', "
        f"'results/{result}.json')]"
    )
    return {"cmd": f'python -c "{code}"', "deps": [source], "outs": [out, f"results/{result}.json"]}


RECORDS = {
    "prepare": copying("../given", "prepared", "none") | {"outs": ["prepared"]},
    "row": {"foreach": ["a-0", "a-1"], "do": copying("prepared", "model-${item}", "${item}")},
    "committee": copying("model-a-0", "evaluation", "committee-a"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project with two stages, and records: two rows and their committee.

    All is reproduced and committed.
    """
    project = Project(tmp_path_factory.mktemp("made") / "project")
    (project.folder / "records" / "results").mkdir(parents=True)
    (project.folder / "records" / "results" / "README").touch()
    (project.folder / "given").write_text("digits\n")
    (project.folder / "params.yaml").write_text("twice: 1\n")
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}, sort_keys=False))
    (project.folder / "records" / "dvc.yaml").write_text(yaml.safe_dump({"stages": RECORDS}))
    project.run("git", "init", "-q")
    project.dvc("init", "-q")
    project.dvc("repro", "-q")
    project.dvc("--cd", "records", "init", "-q", "--subdir")
    project.dvc("--cd", "records", "repro", "-q")
    project.commit("Begin")
    return project.folder


def run(tool, *words: str):
    return CliRunner().invoke(tool.main, words)


def assert_agree(result, outputs: int, lock: str = "dvc.lock") -> None:
    assert result.exit_code == 0, result.output
    assert f"All {outputs} outputs have the bytes that {lock} states." in result.stdout
    assert result.stdout.count("same bytes") == outputs


def assert_one_sentence(result, *words: str) -> None:
    """Fail unless the command ended with exit code 1 and one sentence that has the words."""
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert "All" not in result.stdout
    (sentence,) = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert all(word in sentence for word in words), sentence


@contextmanager
def edited(name: str) -> Iterator[dict]:
    """Yield the content of a YAML file, to change."""
    text = yaml.safe_load(Path(name).read_text())
    yield text
    Path(name).write_text(yaml.safe_dump(text, sort_keys=False))


def test_verify_says_what_it_leaves_out_uses_no_checkpoints_and_ends_where_a_stage_fails(
    small, monkeypatch
):
    with edited("dvc.yaml") as project:
        command = (
            "python -c \"import os; open('doubled', 'w').write(os.environ['TRAIN_CHECKPOINTS'])\""
        )
        project["stages"]["double"]["cmd"] = command
    small.dvc("repro", "-q")
    Path("requirements.txt").write_text("numpy==1.0")
    small.commit("Pin, and write the folder of the checkpoints")
    monkeypatch.setenv("TRAIN_CHECKPOINTS", "checkpoints")
    Path("given").write_text("another text")
    result = run(verify)
    assert_agree(result, 4)
    assert result.stderr == "note: the last commit is verified, without the changes since.\n"
    assert "note: HEAD~1 has another requirements.txt" in run(verify, "--rev", "HEAD~1").stderr
    with edited("dvc.yaml") as project:
        project["stages"]["fail"] = {"cmd": "exit 3"}
    small.commit("Fail")
    assert_one_sentence(run(verify), "dvc repro", "failed")


def test_verify_makes_an_older_commit_a_tag_and_an_experiment(small):
    """Each is compared with its own dvc.lock, and not with today's."""
    small.run("git", "tag", "mlp@v1.0.0")
    Path("params.yaml").write_text("twice: 2\n")
    small.dvc("repro", "-q")
    small.commit("Twice")
    # As DVC keeps an experiment
    small.run("git", "update-ref", f"refs/exps/aa/{'b' * 38}/twice", "HEAD")
    small.run("git", "reset", "-q", "--hard", "HEAD~1")
    with edited("dvc.lock") as lock:
        lock["stages"]["double"]["outs"][0]["md5"] = WRONG
    small.commit("Restate")
    assert_one_sentence(run(verify), "output doubled")
    for rev in ("HEAD~1", "mlp@v1.0.0", "twice"):
        assert_agree(run(verify, "--rev", rev), 4)
    small.run("git", "update-ref", f"refs/exps/cc/{'d' * 38}/twice", "HEAD")
    assert_one_sentence(run(verify, "--rev", "twice"), "2 commits have an experiment twice")
    assert_one_sentence(run(verify, "--rev", "mlp@v9"), "commit, tag or experiment mlp@v9")


def test_verify_makes_one_row_or_a_committee_again(small):
    with edited("records/dvc.lock") as lock:
        lock["stages"]["row@a-1"]["outs"][0]["md5"] = WRONG
    small.commit("Restate")
    result = run(verify, "--record", "a")
    assert_agree(result, 3, "records/dvc.lock")
    assert "a-1" not in result.stdout
    assert_one_sentence(
        run(verify, "--record", "a", "--seed", "1"), "output model-a-1", "stage row@a-1"
    )
    assert_agree(run(verify, "--record", "committee-a"), 5, "records/dvc.lock")
    for words, *expected in (
        (
            ["--record", "a", "--seed", "2"],
            "records/dvc.lock",
            "a has no seed 2",
            "expected one of 0, 1.",
        ),
        (["--record", "b"], "records/dvc.lock has no record b", "expected one of a, committee-a."),
        (["--record", "committee-a", "--seed", "1"], "committee-a has no seeds"),
        (["--record", "committee-a", "--epochs", "1"], "committee-a has no seeds and no epochs"),
        (["--epochs", "1"], "give --record"),
        (["--seed", "1"], "give --record"),
    ):
        assert_one_sentence(run(verify, *words), *expected)


WRONG, OUTSIDE = "0" * 32, str(Path(__file__).resolve())
EXTRA = {"cmd": "true", "outs": [{"path": "extra", "md5": WRONG, "size": 1}]}
# What is done to a dvc.yaml, its stages, the stages in dvc.lock, and files; words of the sentence
FORGED = {
    "a result without a stage": (
        "del stages['score']; lock['score']['outs'][0]['md5'] = WRONG",
        "dvc.lock",
        "stage score",
    ),
    "a metric in Git": ("Path('score.json').write_text('9')", "score.json in Git", "stage score"),
    "a figure more in Git": ("Path('figures/9').touch()", "figures/9 in Git", "stage score"),
    "a figure less in Git": ("Path('figures/8').unlink()", "figures/8 in Git", "stage score"),
    "an output": ("lock['double']['outs'][0]['md5'] = WRONG", "output doubled", "stage double"),
    "a dependency": (
        "lock['double']['deps'][0]['md5'] = WRONG",
        "dependency given",
        "stage double",
    ),
    "a size": ("lock['double']['outs'][0]['size'] = 15", "output doubled", "size 15"),
    "a number of files": ("lock['copy']['outs'][0]['nfiles'] = 3", "output copies", "nfiles 3"),
    "a command": ("lock['double']['cmd'] = 'python right.py'", "command", "python right.py"),
    "a parameter": ("lock['double']['params']['params.yaml']['twice'] = 2", "parameter twice", "2"),
    "a stage more in the lock": ("lock['extra'] = EXTRA", "stage extra"),
    "a stage less in the lock": ("del lock['copy']", "stage copy"),
    "a frozen stage": ("stages['score']['frozen'] = True", "stage score", "frozen"),
    "a stage that does nothing": (
        "stages['score'] |= {'cmd': 'true', 'metrics': [{'score.json': {'cache': False, 'persist': "
        "True}}]}",
        "failed",
    ),
    "data from outside": (
        "stages['double']['deps'] = ['given', OUTSIDE]",
        "stage double",
        "outside",
    ),
    "a metric without a stage": (
        "project['metrics'] = ['8.json']; Path('8.json').touch()",
        "8.json",
        "no stage",
    ),
    "a plot without a stage": (
        "project['plots'] = [{'8': {'y': {'8.csv': 'x'}}}]; Path('8.csv').touch()",
        "8.csv",
    ),
    "line ends in Git": (
        "Path('.gitattributes').write_text('* text'); Path('score.json').touch()",
        "score.json in Git",
    ),
    "data without a stage": (
        "small.run('git', 'rm', '-q', '--cached', 'given'); small.dvc('add', '-q', 'given')",
        "given.dvc",
        "no stage",
    ),
    "stages that DVC cannot read": ("stages['score']['deps'] = 7", "DVC", "dvc.yaml"),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_verify_refuses_a_forgery(small, forgery):
    code, *words = FORGED[forgery]
    with edited("dvc.yaml") as project, edited("dvc.lock") as lock:
        names = {
            "small": small,
            "project": project,
            "stages": project["stages"],
            "lock": lock["stages"],
        }
        exec(code, globals() | names)
    small.commit("Forge")
    assert_one_sentence(run(verify), *words)


def test_verify_runs_what_is_always_changed_and_an_output_that_persists(small):
    """They are no holes: every stage runs, from nothing."""
    with edited("dvc.yaml") as project:
        changed = {
            "always_changed": True,
            "plots": [{"figures": {"cache": False, "persist": True}}],
        }
        project["stages"]["score"] |= changed
    small.dvc("repro", "-q")
    small.commit("Change always")
    assert_agree(run(verify), 4)


def damage(path: Path) -> None:
    """Change a byte of a file, and neither its length nor its time."""
    times = path.stat()
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"?" + content[1:])
    path.chmod(times.st_mode)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_check_finds_nothing_where_all_is_well(small, monkeypatch):
    """It leaves what DVC is writing into its cache, and ignores what DVC ignores."""
    Path(".dvcignore").write_text("*.part\n")
    Path("copies", ".c.77.part").touch()
    writing = next(Path().glob(".dvc/cache/files/md5/??")) / ".AbC123.tmp"
    writing.write_text("half of a")
    result = run(check)
    assert (result.exit_code, result.stdout.count("undamaged")) == (0, 1)
    assert writing.exists()
    Path("dvc.lock").write_text("stages: {double: {outs: [1]}}")
    assert_one_sentence(run(check), "git checkout dvc.lock")
    small.commit("Damage the lock")
    assert_one_sentence(run(verify), "the dvc.lock of HEAD is not valid")
    monkeypatch.chdir("..")
    assert_one_sentence(run(check), "dvc.lock: No such file")


@pytest.mark.parametrize(("folder", "suffix"), [("", ".dir"), ("records", "")])
def test_check_removes_and_names_a_damaged_file_of_a_cache(small, folder, suffix):
    """The list of a folder's files, or a file."""
    cached = sorted(Path(folder).glob(".dvc/cache/files/md5/??/*"))
    chosen = next(path for path in cached if path.suffix == suffix)
    damage(chosen)
    result = run(check)
    assert_one_sentence(result, "dvc repro")
    assert Path(result.stdout.split(":")[0]).resolve() == chosen.resolve()
    assert [path for path in cached if not path.exists()] == [chosen]


@pytest.mark.parametrize(
    ("damaged", "output", "project"),
    [("copies/b/c", "copies", "."), ("records/model-a-0", "records/model-a-0", "records")],
)
def test_check_names_a_damaged_output_and_dvc_makes_it_again(small, damaged, output, project):
    small.dvc("--cd", project, "repro", "-q")  # it remembers time and length of each file
    content = Path(damaged).read_bytes()
    damage(Path(damaged))
    result = run(check)
    assert_one_sentence(result, "dvc repro")
    assert result.stdout == f"{Path(output)}: not what {Path(project, 'dvc.lock')} says.\n"
    small.dvc("--cd", project, "repro", "-q")
    assert Path(damaged).read_bytes() == content
    assert run(check).exit_code == 0
