"""`tools.verify` and `tools.check`, on a small DVC project: what they find, say and return."""

import json
import os
import py_compile  # noqa: F401 a forgery does
import shutil  # noqa: F401 a hostile file does
import sys
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
    both = f"'{out}', 'results/{result}.json'"
    code = f"[open(out, 'w').write(open('{source}').read()) for out in ({both})]"
    outs = [out, {f"results/{result}.json": {"cache": False}}]
    return {"cmd": f'python -c "{code}"', "deps": [source], "outs": outs}


RECORDS = {
    "prepare": copying("../given", "prepared", "none") | {"outs": ["prepared"]},
    "row": {"foreach": ["a-0", "a-1"], "do": copying("prepared", "model-${item}", "${item}")},
    "evaluation": copying("model-a-0", "evaluation", "mistakes"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project, and records: two rows, and what follows one; all is reproduced and committed."""
    project = Project(tmp_path_factory.mktemp("made") / "project")
    records = project.folder / "records"
    (records / "results").mkdir(parents=True)
    (records / "results" / "README").touch()
    (records / "dvc.yaml").write_text(yaml.safe_dump({"stages": RECORDS}))
    (project.folder / "given").write_text("digits\n")
    (project.folder / "params.yaml").write_text("twice: 1\n")
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}, sort_keys=False))
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
    code = "import os; open('doubled', 'w').write(os.environ['TRAIN_CHECKPOINTS'])"
    with edited("dvc.yaml") as project:
        project["stages"]["double"]["cmd"] = f'python -c "{code}"'
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
    assert_one_sentence(run(verify), "outs doubled")
    for rev in ("HEAD~1", "mlp@v1.0.0", "twice"):
        assert_agree(run(verify, "--rev", rev), 4)
    small.run("git", "update-ref", f"refs/exps/cc/{'d' * 38}/twice", "HEAD")
    assert_one_sentence(run(verify, "--rev", "twice"), "2 commits have an experiment twice")
    assert_one_sentence(run(verify, "--rev", "mlp@v9"), "commit, tag or experiment mlp@v9")


def test_verify_makes_one_row_again(small):
    with edited("records/dvc.lock") as lock:
        lock["stages"]["row@a-1"]["outs"][0]["md5"] = WRONG
    write("metrics/8.json")  # beside the records: another project's
    small.commit("Restate")
    result = run(verify, "--record", "a")
    assert_agree(result, 3, "records/dvc.lock")
    assert "a-1" not in result.stdout
    assert_one_sentence(run(verify, "--record", "a", "--seed", "1"), "row@a-1 outs model-a-1 md5")
    for words, *expected in (
        (["--record", "a", "--seed", "2"], "no row a-2", "expected one of a-0, a-1."),
        (["--record", "b"], "no row b-0", "expected one of a, "),
        (["--epochs", "1"], "give --record"),
        (["--seed", "1"], "give --record"),
    ):
        assert_one_sentence(run(verify, *words), *expected)


WRONG, OUTSIDE = "0" * 32, str(Path(__file__).resolve())
LONG = f"{'8' * 200}/{'8' * 200}.json"
PERSISTENT = {"cache": False, "persist": True}
EXTRA = {"cmd": "true", "outs": [{"path": "extra", "md5": WRONG, "size": 1}]}


def eight(**more) -> dict:
    """Return a stage that writes a metric, 8.json, and the folder it needs."""
    return {"cmd": "echo 8 > 8.json", "metrics": [{"8.json": {"cache": False}}]} | more


def near(facts: dict) -> None:
    """Change the last digit of an MD5."""
    facts["md5"] = facts["md5"][:-1] + "01"[facts["md5"][-1] == "0"]


def write(name: str, text: str = "9\n") -> None:
    """Write a file that no stage makes, in a folder that may be missing."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


def submodule(name: str) -> None:
    """Make a folder a repository of its own, of which Git keeps the commit alone."""
    Path(name, "7").write_text("9")
    small = Project(Path(name))
    small.run("git", "init", "-q")
    small.commit("Forge")
    Project(Path()).run("git", "rm", "-rq", "--cached", name)
    Path(name, "7").write_bytes(b"8\r\n")


def template(parts: dict, mark: str = "<DVC_METRIC_DATA>") -> None:
    """Write a template for plots. DVC fills in the mark, wherever it stands."""
    write(".dvc/plots/mine.json", json.dumps(parts | {"vconcat": [{"data": {"values": mark}}]}))


# What is done to the stages in dvc.lock, and words of the sentence
FORGED_LOCKS = {
    "an output": ("near(lock['double']['outs'][0])", "double outs doubled md5"),
    "a dependency": ("near(lock['double']['deps'][0])", "double deps given md5"),
    "a size": ("lock['double']['outs'][0]['size'] = 15", "double outs doubled size", "15"),
    "a number of files": ("lock['copy']['outs'][0]['nfiles'] = 3", "copy outs copies nfiles", "3"),
    "a command": ("lock['double']['cmd'] = 'python right.py'", "double cmd", "python right.py"),
    "a parameter": ("lock['double']['params']['params.yaml']['twice'] = 2", "twice", "states 2"),
    "a stage more": ("lock['extra'] = EXTRA", "extra", "was nothing"),
    "a stage less": ("del lock['copy']", "copy", "states nothing"),
    "an output twice": ("lock['double']['outs'].insert(0, EXTRA['outs'][0])", "dvc.lock"),
}
DELETED = "8.json was deleted"
# What is done to dvc.yaml, its stages, and files; `dvc commit --force` then writes dvc.lock
FORGED = {
    "a result without a stage": ("del stages['score']", "score cmd was nothing"),
    "a metric": ("write('score.json')", "score outs score.json md5"),
    "a figure more": ("write('figures/9')", "score outs figures md5"),
    "a figure less": ("Path('figures/8').unlink()", "score outs figures md5"),
    "a frozen stage": ("stages['score']['frozen'] = True", "failed"),
    "a stage that does nothing": (
        "stages['score'] |= {'cmd': 'true', 'metrics': [{'score.json': PERSISTENT}]}",
        "failed",
    ),
    "a stage that does nothing in a folder": (
        "stages['extra'] = eight(cmd='true', wdir='sub'); write('sub/8.json')",
        "failed",
    ),
    "a stage that takes its result from Git": (
        "stages['extra'] = eight(cmd='git checkout HEAD -- 8.json'); write('8.json')",
        "failed",
    ),
    "a stage that imports what the commit lacks": (
        "stages['extra'] = eight(cmd='python -c \"import tools\" && echo 9 > 8.json'); "
        "write('8.json')",
        "failed",
    ),
    "bytecode": (
        "stages['extra'] = eight(cmd='python -c \"import more; print(more.x)\" > 8.json'); "
        "write('8.json'); write('more.py', 'x = 9'); py_compile.compile('more.py', "
        "invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH); "
        "write('more.py', 'x = 8')",
        "extra outs 8.json md5",
    ),
    "data from outside": ("stages['double']['deps'] = ['given', OUTSIDE]", "outside"),
    "a result outside": ("stages['double']['outs'] = [{'../x': {'cache': False}}]", "outside"),
    "a metric without a stage": (
        "project['metrics'] = ['8.json']; write('8.json')",
        "8.json was deleted",
        "no stage",
    ),
    "a folder of metrics": ("project['metrics'] = ['shown']; write('shown/8.json')", DELETED),
    "a metric in a folder above": ("project['metrics'] = ['../8.json']; write('8.json')", DELETED),
    "a metric with a variable in its name": (
        "project |= {'vars': [{'n': 8}], 'metrics': ['${n}.json']}; write('8.json')",
        DELETED,
    ),
    "a metric with a long name": ("project['metrics'] = [LONG]; write(LONG)", "was deleted"),
    "a metric that is data": (
        "project['metrics'] = ['8.json']; write('8.json'); small.dvc('add', '-q', '8.json')",
        "failed",
    ),
    "a metric that is not there": ("project['metrics'] = ['8.json']", "dvc.yaml shows 8.json"),
    "a plot without a stage": (
        "project['plots'] = [{'8': {'y': {'8.csv': 'x'}}}]; write('8.csv', 'x\\n8\\n')",
        "8.csv was deleted",
    ),
    "a plot's other axis": (
        "project['plots'] = [{'score.json': {'x': {'8.csv': 'x'}}}]; write('8.csv')",
        "8.csv was deleted",
    ),
    "an artifact without a stage": (
        "project['artifacts'] = {'model': {'path': '8.npz'}}; write('8.npz')",
        "8.npz was deleted",
    ),
    "a result that no file of DVC names": ("write('metrics/8.png')", "metrics/8.png was deleted"),
    "a folder of results that is a link": (
        "stages['extra'] = eight(cmd='echo 9 > metrics/8.json', metrics=[{'metrics/8.json': "
        "{'cache': False}}]); write('shown/8.json'); Path('metrics').symlink_to('shown')",
        "failed",
    ),
    "a folder of results that is a submodule": (
        "submodule('figures')",
        "figures in Git is a submodule",
    ),
    "a second pipeline": (
        "write('second/dvc.yaml', yaml.safe_dump({'stages': {'eight': eight()}})); "
        "write('second/8.json')",
        "eight outs 8.json md5",
    ),
    "line ends": (
        "write('.gitattributes', '* text'); Path('score.json').touch()",
        "in Git is not what the stages make",
    ),
    "a metric among DVC's settings": (
        "stages['extra'] = {'cmd': 'mkdir .dvc/x; echo 8 > .dvc/x/8.json', 'deps': ['given']}; "
        "project['metrics'] = ['.dvc/x/8.json']; write('.dvc/x/8.json')",
        "dvc.yaml shows .dvc/x/8.json",
    ),
    "data in a template": ("template({'data': {'values': [{'x': 9}]}})", "plots/mine.json", "data"),
    "data in a part of a template": (
        "template({'layer': [{'data': {'name': 'own'}}], 'datasets': {'own': {'x': [9]}}})",
        "plots/mine.json",
    ),
    "the address of data in a template": (
        "template({'data': [{'url': 'shown.json', 'name': 'own'}]})",
        "plots/mine.json",
    ),
    "a page for plots": (
        "small.dvc('config', '-q', 'plots.html_template', '../page.html'); write('page.html')",
        ".dvc/config",
    ),
    "data without a stage": (
        "small.run('git', 'rm', '-q', '--cached', 'given'); small.dvc('add', '-q', 'given')",
        "failed",
    ),
    "stages that DVC cannot read": ("stages['score']['deps'] = 7", "DVC", "dvc.yaml"),
}


@pytest.mark.parametrize("forgery", FORGED_LOCKS)
def test_verify_refuses_a_forged_lock(small, forgery):
    code, *words = FORGED_LOCKS[forgery]
    with edited("dvc.lock") as lock:
        exec(code, globals() | {"lock": lock["stages"]})
    small.commit("Forge")
    assert_one_sentence(run(verify), *words)


@pytest.mark.parametrize("forgery", FORGED)
def test_verify_refuses_a_forgery(small, forgery):
    code, *words = FORGED[forgery]
    with edited("dvc.yaml") as project:
        names = {"small": small, "project": project, "stages": project["stages"]}
        exec(code, globals() | names)
    small.dvc("commit", "-q", "--force", check=False)
    small.commit("Forge")
    assert_one_sentence(run(verify), *words)


def test_verify_runs_dvc_itself_whatever_the_commit_calls_so(small):
    """As a program of its own, as people run it."""
    write("score.json")
    small.dvc("commit", "-q", "--force")
    for name in ("dvc.py", "ruamel.py", "dvc/__main__.py"):
        write(name, "raise SystemExit(0)")
    small.commit("Forge")
    done = small.run(sys.executable, "-P", "-m", "tools.verify", check=False)
    assert done.returncode == 1
    assert "score outs score.json md5" in done.stderr


@pytest.mark.parametrize("name", ["errors", "lock"])
def test_verify_compares_a_row_with_its_result_before_it_trains_epochs(small, name):
    if name == "errors":
        write("records/results/a-0.json")
    else:
        with edited("records/dvc.lock") as lock:
            near(lock["stages"]["row@a-0"]["outs"][1])
    small.commit("Forge")
    words = ("--record", "a", "--epochs", "1")
    assert_one_sentence(run(verify, *words), "results/a-0.json in Git", "records/dvc.lock")


def test_verify_runs_what_is_always_changed_and_an_output_that_persists(small):
    """They are no holes: every stage runs, from nothing."""
    with edited("dvc.yaml") as project:
        plots = [{"figures": PERSISTENT}]
        project["stages"]["score"] |= {"always_changed": True, "plots": plots}
    template({"transform": [{"lookup": "x", "values": [9]}]})
    small.dvc("repro", "-q")
    small.commit("Change always")
    result = run(verify)
    assert_agree(result, 4)
    assert "did not run: records/." in result.stdout


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
    with edited("dvc.lock") as lock:
        near(lock["stages"]["double"]["outs"][0])
    assert run(check).stdout == "doubled: not what dvc.lock says.\n"
    Path("dvc.lock").write_text("stages: {double: {outs: [1]}}")
    assert_one_sentence(run(check), "git checkout dvc.lock")
    small.commit("Damage the lock")
    assert_one_sentence(run(verify), "dvc.lock", "validation failed")
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


@pytest.mark.parametrize(
    "hostile",
    [
        "lock['double']['outs'][0]['path'] = '../victim/files/md5/ab/c'",
        "lock['double']['outs'][0]['path'] = str(Path('../victim/files/md5/ab/c').resolve())",
        "Path('doubled').unlink(); Path('doubled').symlink_to('../victim/files/md5/ab/c')",
        "shutil.rmtree('copies'); Path('copies').symlink_to('../victim')",
        "small.dvc('config', '-q', 'cache.dir', '../../victim')",
        "shutil.rmtree('.dvc/cache'); Path('.dvc/cache').symlink_to('../../victim')",
        "shutil.rmtree('.dvc/tmp'); Path('.dvc/tmp').symlink_to('../../victim')",
    ],
    ids=["up", "whole path", "link", "linked folder", "cache", "linked cache", "linked lock"],
)
def test_check_leaves_files_outside_of_its_folder_alone(small, hostile):
    victim = small.folder.parent / "victim"
    (victim / "files" / "md5" / "ab").mkdir(parents=True)
    (victim / "files" / "md5" / "ab" / "c").write_text("precious")

    def state() -> list:
        return [(path, path.stat().st_mtime_ns) for path in sorted(victim.rglob("*"))]

    before = state()
    with edited("dvc.lock") as lock:
        exec(hostile, globals() | {"lock": lock["stages"], "small": small})
    assert_one_sentence(run(check), "outside of this folder")
    assert state() == before


def test_no_control_character_of_a_file_reaches_the_terminal(small):
    name = "\x1b]0;title\x07"
    write(name)
    with edited("dvc.lock") as lock:
        lock["stages"]["double"]["outs"][0] |= {"path": name}
    small.commit("Forge")
    for result in (run(check), run(verify)):
        assert result.exit_code == 1
        assert not {"\x1b", "\x07"} & set(result.output)
    assert "?]0;title?: not what dvc.lock says." in run(check).stdout
