"""Every example of docs/data.md, run as it stands there."""

import ast
import re
import typing
from pathlib import Path

import pytest
import yaml
from PIL import Image

from phi3k_trainer import data
from phi3k_trainer.data.dataset import prepare_dataset
from phi3k_trainer.images.errors import Reason
from phi3k_trainer.recipe.recipe import Recipe

PAGE = Path(__file__).parents[4] / "docs" / "data.md"
ROWS = {
    "CSV": 2,
    "JSON lines": 3,
    "Parquet": 1,
    "Hugging Face data sets": 2,
    "A folder of pictures": 2,
    "LLaVA conversations": 2,
    "Chat messages": 2,
    "DBQ product prices": 1,
    "The sample catalogue": 4,
    "Answers in JSON": 2,
}


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return {title: text for title, text in zip(parts[1::2], parts[2::2], strict=True) if "```yaml" in text}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for shade, name in enumerate(("cape", "coat", "front", "back")):
        Image.new("RGB", (60, 80), (shade * 50, 0, 0)).save(tmp_path / "pictures" / f"{name}.jpg")
    return tmp_path


def test_the_page_has_an_example_of_every_source() -> None:
    assert set(sections()) == set(ROWS)
    sources = {yaml.safe_load(section)["source"] for text in sections().values() for section in blocks(text, "yaml")}
    assert sources == set(Recipe.model_fields["data"].annotation.model_fields["source"].annotation.__args__)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("title", sections())
def test_the_example_reads_as_the_page_says(directory: Path, title: str) -> None:
    text = sections()[title]
    for name, content in re.findall(r"^`([\w./]+)`:\n```\w+\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        (directory / name).write_text(content)
    for code in blocks(text, "python"):
        exec(compile(code, f"{PAGE.name}: {title}", "exec"), {})
    (section,) = blocks(text, "yaml")
    said = {"cache": str(directory / "cache"), "eval_fraction": 0.0, **yaml.safe_load(section)}
    recipe = Recipe.model_validate({"apiVersion": "phi3k/v1", "name": "docs", "model": {"base": "tiny"}, "data": said})
    assert len(prepare_dataset(recipe, None).train) == ROWS[title]


def reasons_in_code() -> set[str]:
    """The reasons that are written out in calls, such as Rejection(key, "missing_value", ...)."""
    position = {"Rejection": 1, "UnusableRowError": 0, "Failure": 0, "_failed": 0}
    calls = [
        node
        for file in Path(data.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in position
    ]
    arguments = [call.args[position[call.func.id]] for call in calls if len(call.args) > 1]
    return {argument.value for argument in arguments if isinstance(argument, ast.Constant)}


def test_the_page_explains_every_reason() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    reasons = reasons_in_code() | set(typing.get_args(Reason))
    assert len(reasons) > 20
    assert reasons - named == set()


def test_a_json_answer_is_as_the_page_shows_it(directory: Path) -> None:
    text = sections()["Answers in JSON"]
    (directory / "clothes.jsonl").write_text(blocks(text, "json")[0])
    section = {"cache": str(directory / "cache"), "eval_fraction": 0.0, **yaml.safe_load(blocks(text, "yaml")[0])}
    recipe = Recipe.model_validate(
        {"apiVersion": "phi3k/v1", "name": "docs", "model": {"base": "tiny"}, "data": section}
    )
    (cape,) = (one for one in prepare_dataset(recipe, None).train if "Cape" in one.turns[-1].text)
    assert f"`{cape.turns[-1].text}`" in text
