"""Which defaults files lie under a recipe, what `recipe show --origin` says of them, and who never reads them."""

import json
import os
from pathlib import Path

import pytest

from phi3k.defaults import defaults_files
from phi3k.main import main
from phi3k_trainer.credentials import is_named, wandb_servers
from phi3k_trainer.data import cache
from phi3k_trainer.replica import entrypoint
from phi3k_trainer.training import worker

ROOT = Path(__file__).parents[3]
SERVER = "https://wandb.team.example"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without defaults, and a project below it to work in."""
    home = tmp_path / "home"
    (home / "project" / "deep").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for variable in ("PHI3K_DEFAULTS", "XDG_CONFIG_HOME", "WANDB_BASE_URL"):
        # Set before it is deleted, so that what a command sets is undone as well.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.chdir(home / "project" / "deep")
    return home


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def origins(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, tuple[object, str]]:
    capsys.readouterr()
    assert main(["recipe", "show", "demo", "--origin", "--output", "json", *arguments]) == 0
    return {row["field"]: (row["value"], row["origin"]) for row in json.loads(capsys.readouterr().out)}


def test_user_project_recipe_set_and_options_in_this_order(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user = write(
        home / ".config/phi3k/defaults.yaml",
        "training:\n  seed: 1\n  epochs: 9\ncluster:\n  queue: a\n  gpus: 1\n  image: i\n  priority_class: p\n",
    )
    project = write(home / "project/.phi3k.yaml", "cluster:\n  gpus: 2\n  queue: b\n  image: j\n")
    found = origins(capsys, "--set", "cluster.gpus=3", "--set", "cluster.image=k", "--gpus", "4")
    assert found["cluster.priority_class"] == ("p", f"{user}:8")
    assert found["training.seed"] == (1, f"{user}:2")
    assert found["cluster.queue"] == ("b", f"{project}:3")
    assert found["training.epochs"] == (3.0, f"{ROOT}/recipes/demo.yaml:21")
    assert found["cluster.image"] == ("k", "--set cluster.image=k")
    assert found["cluster.gpus"] == (4, "--gpus 4")
    assert found["cluster.nodes"] == (None, "built in")


def test_every_field_has_one_row_with_its_origin(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", "demo", "--origin"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert any(row.split() == ["cluster.gpus_per_node", "8", "built", "in"] for row in rows)


def test_the_configuration_directory_of_xdg_is_honoured(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "xdg/phi3k/defaults.yaml", "")
    write(home / ".config/phi3k/defaults.yaml", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert [each.path for each in defaults_files(Path.cwd())] == [file]
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert [each.path for each in defaults_files(Path.cwd())] == [home / ".config/phi3k/defaults.yaml"]


def test_the_nearest_project_file_is_taken_up_to_the_home_directory(home: Path, tmp_path: Path) -> None:
    write(tmp_path / ".phi3k.yaml", "")
    assert defaults_files(Path.cwd()) == []
    for place in (home, home / "project", home / "project/deep"):
        file = write(place / ".phi3k.yaml", "")
        assert [each.path for each in defaults_files(Path.cwd())] == [file]


def test_the_search_ends_at_the_root_of_a_repository(home: Path) -> None:
    write(home / ".phi3k.yaml", "")
    (home / "project/.git").mkdir()
    assert defaults_files(Path.cwd()) == []
    file = write(home / "project/.phi3k.yaml", "")
    assert [each.path for each in defaults_files(Path.cwd())] == [file]


def test_the_variable_replaces_the_search_and_empty_means_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(home / ".config/phi3k/defaults.yaml", "cluster: {queue: a}")
    write(home / "project/.phi3k.yaml", "cluster: {queue: b}")
    other = write(tmp_path / "other.yaml", "cluster: {image: c}")
    monkeypatch.setenv("PHI3K_DEFAULTS", str(other))
    found = origins(capsys)
    assert (found["cluster.queue"], found["cluster.image"]) == ((None, "built in"), ("c", f"{other}:1"))
    monkeypatch.setenv("PHI3K_DEFAULTS", "")
    assert origins(capsys)["cluster.image"][1] == "built in"
    monkeypatch.setenv("PHI3K_DEFAULTS", "nowhere.yaml")
    assert main(["recipe", "check", "demo"]) == 66
    assert "there is no defaults file nowhere.yaml (PHI3K_DEFAULTS names it)" in capsys.readouterr().err


def test_a_mistake_names_the_file_and_its_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(home / ".config/phi3k/defaults.yaml", "cluster:\n  imag: x\n")
    assert main(["recipe", "check", "demo"]) == 78
    message = f"phi3k: {file}: 1 problem\n  line 2, cluster.imag: unknown key; did you mean image?\n"
    assert capsys.readouterr().err == message


def test_that_a_project_takes_part_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(home / "project/.phi3k.yaml", "cluster: {queue: b}")
    assert main(["recipe", "check", "demo", "--output", "json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"note: defaults of {file} apply\n"
    assert json.loads(printed.out)["valid"]


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(home / "project/.phi3k.yaml")
    assert main(["recipe", "check", "demo"]) == 66
    assert "there is no defaults file" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_file_that_anyone_may_have_put_there_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(home / "project/.phi3k.yaml", "cluster: {image: theirs}")
    file.parent.chmod(0o1777)
    assert main(["recipe", "check", "demo"]) == 0
    os.chown(file, 12345, 12345)
    assert main(["recipe", "check", "demo"]) == 77
    assert "set PHI3K_DEFAULTS" in capsys.readouterr().err


def test_the_w_and_b_server_of_the_users_own_file_is_one_that_the_user_names(home: Path) -> None:
    assert not is_named(SERVER, wandb_servers())
    write(home / ".config/phi3k/defaults.yaml", f"tracking: {{wandb: {{base_url: '{SERVER}'}}}}")
    assert main(["recipe", "check", "demo"]) == 0
    assert is_named(SERVER, wandb_servers())


@pytest.mark.parametrize("writer", ["project", "recipe", "override"])
def test_a_w_and_b_server_that_a_project_or_a_recipe_names_gets_no_key(home: Path, writer: str) -> None:
    text, arguments = f"tracking: {{wandb: {{base_url: '{SERVER}'}}}}\n", ["recipe", "check", "demo"]
    write(home / ".config/phi3k/defaults.yaml", "tracking: {wandb: {base_url: 'https://mine.example'}}")
    if writer == "project":
        write(home / "project/.phi3k.yaml", text)
    elif writer == "recipe":
        demo = (ROOT / "recipes/demo.yaml").read_text()
        arguments[2] = str(write(home / "project/own.yaml", demo + text))
    else:
        arguments += ["--set", f"tracking.wandb.base_url={SERVER}"]
    assert main(arguments) == 0
    assert not is_named(SERVER, wandb_servers())


@pytest.mark.parametrize("process", ["entrypoint", "worker", "cache"])
def test_nothing_that_runs_in_a_pod_reads_defaults(
    process: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is given a wrong recipe, and a wrong file of defaults that the command refuses first."""
    defaults = write(home / ".config/phi3k/defaults.yaml", "no_such_key: 1\n")
    write(home / "project/.phi3k.yaml", "no_such_key: 1\n")
    monkeypatch.setenv("PHI3K_DEFAULTS", str(defaults))
    monkeypatch.setenv("PHI3K_OUTCOMES", str(home))
    recipe = str(write(home / "wrong.yaml", (ROOT / "recipes/demo.yaml").read_text() + "wrong: 1\n"))
    assert main(["recipe", "check", recipe]) == 78
    assert "no_such_key" in capsys.readouterr().err
    if process == "entrypoint":
        assert entrypoint.main([recipe]) == 78
    elif process == "worker":
        assert worker.main([recipe]) == 78
    else:
        assert cache.main(["warm", recipe]) == 78
    printed = capsys.readouterr()
    assert "wrong: unknown key" in printed.err + printed.out
    assert "no_such_key" not in printed.err + printed.out
