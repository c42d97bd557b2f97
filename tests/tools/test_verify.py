"""`tools.verify` and `tools.check`, on a small DVC project: what they find, say and return."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.project import ROOT, Project

STAGES = {
    "double": {
        "cmd": "python -c \"open('doubled', 'w').write(open('given').read() * 2)\"",
        "deps": ["given"],
        "params": ["twice"],
        "outs": ["doubled"],
    },
    "copy": {
        "cmd": "python -c \"import os, shutil; os.makedirs('copies/b'); [shutil.copy('doubled', f'copies/{name}')"
        " for name in ('b/c', 'b-c')]\"",
        "deps": ["doubled"],
        "outs": ["copies"],
    },
}


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory) -> Path:
    """A project with two stages, reproduced and committed."""
    project = Project(tmp_path_factory.mktemp("reproduced") / "project")
    project.folder.mkdir()
    (project.folder / "given").write_text("digits\n")
    (project.folder / "params.yaml").write_text("twice: 1\n")
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}, sort_keys=False))
    project.run("git", "init", "-q")
    project.run("dvc", "init", "-q")
    project.run("dvc", "repro", "-q")
    project.commit("Begin")
    return project.folder


@pytest.fixture
def small(reproduced, tmp_path) -> Project:
    """A copy of that project, for one test."""
    shutil.copytree(reproduced, tmp_path / "project")
    return Project(tmp_path / "project")


def tool(name: str, project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    project.environment["PYTHONPATH"] = str(ROOT)
    return project.run(sys.executable, "-m", f"tools.{name}", *words, check=False)


def assert_one_sentence(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """Fail unless the command ended with exit code 1 and one sentence that has the words."""
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    (sentence,) = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    for word in words:
        assert word in sentence


def restate(project: Project, *outputs: str, lock: str = "dvc.lock") -> None:
    """Let a committed dvc.lock state a wrong MD5 for these outputs."""
    path = project.folder / lock
    lock = yaml.safe_load(path.read_text())
    for stage in lock["stages"].values():
        for out in stage["outs"]:
            if out["path"] in outputs:
                out["md5"] = "0" * 32
    path.write_text(yaml.safe_dump(lock, sort_keys=False))
    project.commit("Restate")


# verify


def test_verify_counts_the_outputs_that_agree(small):
    result = tool("verify", small)
    assert result.returncode == 0
    assert "All 2 outputs have the bytes that dvc.lock states." in result.stdout


@pytest.mark.parametrize(
    ("wrong", "first"), [(["doubled", "copies"], ("doubled", "double")), (["copies"], ("copies", "copy"))]
)
def test_verify_names_the_first_output_that_differs(small, wrong, first):
    restate(small, *wrong)
    result = tool("verify", small)
    assert_one_sentence(result, "output {} of the stage {} ".format(*first))
    assert result.stdout.count("000000000000") == len(wrong)
    assert "All" not in result.stdout


def test_verify_names_an_output_that_the_lock_does_not_state(small):
    lock = yaml.safe_load((small.folder / "dvc.lock").read_text())
    del lock["stages"]["copy"]
    (small.folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    small.commit("Forget a stage")
    assert_one_sentence(tool("verify", small), "output copies of the stage copy")


def test_verify_says_that_it_leaves_out_what_is_not_committed(small):
    assert "note:" not in tool("verify", small).stderr
    (small.folder / "given").write_text("another text")
    result = tool("verify", small)
    assert result.returncode == 0
    assert "note: the last commit is verified, without the changes since.\n" in result.stderr


def test_verify_uses_no_checkpoints(small):
    """Otherwise it could verify a training and run only the end of it."""
    command = "python -c \"import os; open('doubled', 'w').write(os.environ['TRAIN_CHECKPOINTS'])\""
    stages = STAGES | {"double": STAGES["double"] | {"cmd": command}}
    (small.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    small.environment["TRAIN_CHECKPOINTS"] = ""
    small.run("dvc", "repro", "-q")
    small.commit("Write the folder of the checkpoints")
    small.environment["TRAIN_CHECKPOINTS"] = "checkpoints"
    assert tool("verify", small).returncode == 0


def test_verify_compares_nothing_after_a_stage_that_fails(small):
    (small.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES | {"fail": {"cmd": "exit 3"}}}))
    small.commit("Fail")
    result = tool("verify", small)
    assert_one_sentence(result, "dvc repro", "failed")
    assert "same bytes" not in result.stdout


@pytest.mark.parametrize("content", [None, "schema: '2.0'\nsta", "stages: {double: {outs: [1]}}"])
def test_verify_needs_a_valid_lock(small, content):
    lock = small.folder / "dvc.lock"
    lock.unlink() if content is None else lock.write_text(content)
    small.commit("Damage the lock")
    assert_one_sentence(tool("verify", small), "dvc.lock")


# verify, another revision


def test_verify_makes_an_older_commit_a_tag_and_an_experiment(small):
    """Each is compared with its own dvc.lock, and not with today's."""
    small.run("git", "tag", "mlp@v1.0.0")
    small.run("dvc", "exp", "run", "-q", "--name", "twice", "-S", "params.yaml:twice=2")
    small.run("git", "restore", ".")
    restate(small, "doubled")
    assert_one_sentence(tool("verify", small), "output doubled")
    for rev in ("HEAD~1", "mlp@v1.0.0", "twice"):
        result = tool("verify", small, "--rev", rev)
        assert result.returncode == 0, result.stderr
        assert "All 2 outputs have the bytes that dvc.lock states." in result.stdout


def test_verify_refuses_a_revision_that_is_not_there(small):
    assert_one_sentence(tool("verify", small, "--rev", "mlp@v9"), "commit, tag or experiment mlp@v9")


def test_verify_says_that_a_commit_had_other_packages(small):
    (small.folder / "requirements.txt").write_text("numpy==1.0")
    small.commit("Pin")
    assert "note: HEAD~1 has another requirements.txt" in tool("verify", small, "--rev", "HEAD~1").stderr


# verify, a row of the records


def copying(source: str, out: str, result: str) -> dict:
    code = f"[open(out, 'w').write(open('{source}').read()) for out in ('{out}', 'results/{result}.json')]"
    return {"cmd": f'python -c "{code}"', "deps": [source], "outs": [out, f"results/{result}.json"]}


@pytest.fixture
def recorded(small) -> Project:
    """The project with records: two rows of a record, and their committee."""
    (small.folder / "records" / "results").mkdir(parents=True)
    (small.folder / "records" / "results" / "README").touch()
    stages = {"prepare": {"cmd": "cp ../given prepared", "deps": ["../given"], "outs": ["prepared"]}}
    stages["row"] = {"foreach": ["a-0", "a-1"], "do": copying("prepared", "model-${item}", "${item}")}
    stages["committee"] = copying("model-a-0", "evaluation", "committee-a")
    (small.folder / "records" / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    small.run("dvc", "--cd", "records", "init", "-q", "--subdir")
    small.run("dvc", "--cd", "records", "repro", "-q")
    small.commit("Record")
    return small


def test_verify_makes_one_row_again(recorded):
    restate(recorded, "model-a-1", lock="records/dvc.lock")
    result = tool("verify", recorded, "--record", "a")
    assert result.returncode == 0, result.stderr
    assert "All 3 outputs have the bytes that records/dvc.lock states." in result.stdout
    assert "a-1" not in result.stdout
    assert "double" not in result.stderr
    assert_one_sentence(tool("verify", recorded, "--record", "a", "--seed", "1"), "output model-a-1", "stage row@a-1")


def test_verify_makes_a_committee_again(recorded):
    result = tool("verify", recorded, "--record", "committee-a")
    assert result.returncode == 0, result.stderr
    assert "All 5 outputs have the bytes that records/dvc.lock states." in result.stdout


def test_verify_names_a_row_that_is_not_there(recorded):
    seeds = tool("verify", recorded, "--record", "a", "--seed", "2")
    assert_one_sentence(seeds, "records/dvc.lock", "a has no seed 2", "expected one of 0, 1.")
    names = tool("verify", recorded, "--record", "b")
    assert_one_sentence(names, "records/dvc.lock has no record b", "expected one of a, committee-a.")
    assert_one_sentence(tool("verify", recorded, "--seed", "1"), "give --record")
    seeds = tool("verify", recorded, "--record", "committee-a", "--seed", "1")
    assert_one_sentence(seeds, "committee-a has no seeds")


# check


def damage(path: Path) -> None:
    """Change a byte of a file, and neither its length nor its time."""
    times = path.stat()
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"?" + content[1:])
    path.chmod(times.st_mode)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_check_finds_nothing_where_all_is_well(small):
    result = tool("check", small)
    assert result.returncode == 0
    assert result.stdout == "All files in DVC's cache and all outputs are undamaged.\n"


@pytest.mark.parametrize("kind", ["file", "list of a folder's files"])
def test_check_removes_and_names_a_damaged_file_of_the_cache(small, kind):
    cached = sorted(small.folder.glob(".dvc/cache/files/md5/??/*"))
    chosen = next(path for path in cached if (path.suffix == ".dir") == (kind != "file"))
    damage(chosen)
    result = tool("check", small)
    assert_one_sentence(result, "dvc repro")
    assert result.stdout == f"{chosen}: damaged in DVC's cache; removed.\n"
    assert [path for path in cached if not path.exists()] == [chosen]


@pytest.mark.parametrize(("damaged", "output"), [("doubled", "doubled"), ("copies/b/c", "copies")])
def test_check_names_a_damaged_output_and_dvc_makes_it_again(small, damaged, output):
    path = small.folder / damaged
    content = path.read_bytes()
    damage(path)
    result = tool("check", small)
    assert_one_sentence(result, "dvc repro")
    assert result.stdout == f"{output}: not what dvc.lock says.\n"
    small.run("dvc", "repro", "-q")
    assert path.read_bytes() == content
    assert tool("check", small).returncode == 0


def test_check_finds_damage_in_the_records(recorded):
    damage(recorded.folder / "records" / "model-a-0")
    result = tool("check", recorded)
    assert_one_sentence(result, "dvc repro")
    assert result.stdout == f"{Path('records', 'model-a-0')}: not what {Path('records', 'dvc.lock')} says.\n"


def test_check_finds_damage_in_the_cache_of_the_records(recorded):
    chosen = next((recorded.folder / "records").glob(".dvc/cache/files/md5/??/*"))
    damage(chosen)
    result = tool("check", recorded)
    assert_one_sentence(result, "dvc repro")
    assert result.stdout == f"{chosen}: damaged in DVC's cache; removed.\n"
    assert not chosen.exists()


def test_check_leaves_the_files_that_dvc_is_writing(small):
    folder = next(small.folder.glob(".dvc/cache/files/md5/??"))
    (folder / ".AbC123.tmp").write_text("half of a")
    assert tool("check", small).returncode == 0
    assert (folder / ".AbC123.tmp").exists()


def test_a_broken_lock_is_named_with_its_cure(recorded):
    (recorded.folder / "records" / "dvc.lock").write_text("stages: [")
    assert_one_sentence(tool("check", recorded), f"git checkout {Path('records', 'dvc.lock')}")
    recorded.commit("Break it")
    assert_one_sentence(tool("verify", recorded, "--record", "a"), "the records/dvc.lock of HEAD is not valid")


def test_check_ignores_what_dvc_ignores(small):
    (small.folder / ".dvcignore").write_text("*.part\n")
    (small.folder / "copies" / ".c.77.part").touch()
    assert small.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    assert tool("check", small).returncode == 0


def test_check_needs_a_dvc_project(tmp_path):
    assert_one_sentence(tool("check", Project(tmp_path)), "DVC project")
