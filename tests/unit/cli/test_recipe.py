"""`phi3k recipe` and `phi3k init`."""

import json
from pathlib import Path

import pytest
import yaml

from phi3k.main import main
from phi3k.reference import recipe_reference
from phi3k_trainer.recipe import Recipe, load_recipe, parse_recipe, recipe_sha256
from phi3k_trainer.recipe.ready import ready_recipe, ready_recipes
from phi3k_trainer.sources import SOURCES, Source

ROOT = Path(__file__).parents[3]


def test_check_says_that_a_recipe_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "check", str(ready_recipe("demo"))]) == 0
    assert capsys.readouterr().out.startswith("demo: valid")


def test_check_as_json_gives_the_hash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "check", "demo", "--output", "json"]) == 0
    digest = recipe_sha256(load_recipe(ready_recipe("demo")))
    assert json.loads(capsys.readouterr().out) == {"name": "demo", "sha256": digest, "valid": True}


def test_show_prints_every_field_in_force_with_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", "demo", "--set", "training.seed=7", "-s", "name=other"]) == 0
    shown = parse_recipe(capsys.readouterr().out)
    assert (shown.training.seed, shown.name) == (7, "other")


def test_show_as_json_is_the_same_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", "demo", "-o", "json"]) == 0
    assert parse_recipe(capsys.readouterr().out) == load_recipe(ready_recipe("demo"))


def test_a_file_comes_before_a_ready_recipe_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text(ready_recipe("demo").read_text().replace("name: demo", "name: mine"))
    assert main(["recipe", "check", "demo"]) == 0
    assert capsys.readouterr().out.startswith("mine: valid")


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "schema"]) == 0
    assert set(json.loads(capsys.readouterr().out)["properties"]) == set(Recipe.model_fields)


def test_list_names_every_ready_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "list", "--output", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in listed] == list(ready_recipes())
    assert all(Path(row["path"]).is_file() and row["about"] for row in listed)


def test_the_reference_in_docs_is_current() -> None:
    """After a change of the recipe: phi3k recipe reference > docs/recipe.md."""
    assert (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8") == recipe_reference()


def test_the_reference_has_every_field() -> None:
    text = recipe_reference()
    sections = load_recipe(ready_recipe("demo")).model_dump().values()
    names = [name for section in sections if isinstance(section, dict) for name in section]
    assert [name for name in names if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_init_writes_a_commented_recipe_for_every_source(source: Source, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    assert main(["init", str(file), "--source", source.name]) == 0
    recipe = load_recipe(file)
    assert recipe.data.source == source.name
    assert file.read_text().count("#") > 5


@pytest.mark.parametrize("value", ["on", "2e-4", "a: b", "ä #x", '"quoted"', "-", "null", "{title}: 1"])
def test_init_keeps_what_it_is_told_to_the_letter(value: str, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    options = ["--path", value, "--image", value, "--answer", value, "--base", value]
    assert main(["init", str(file), "--source", "csv", *options]) == 0
    recipe = load_recipe(file)
    assert [recipe.data.path, recipe.data.image, recipe.data.answer, recipe.model.base] == [value] * 4


def test_init_does_not_write_over_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("mine")
    assert main(["init", str(file)]) == 73
    assert "--force" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert main(["init", str(file), "--force"]) == 0
    assert yaml.safe_load(file.read_text())["name"] == "my-run"


def test_init_refuses_a_name_that_no_run_can_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "own.yaml"), "--name", "My Run"]) == 78
    assert "name: should match" in capsys.readouterr().err
    assert not (tmp_path / "own.yaml").exists()
