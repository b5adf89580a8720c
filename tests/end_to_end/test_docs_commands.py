"""The commands of the pages, run as they stand there, but for those whose mark says what they need or what runs them.

They find what a reader of these pages has by then: a recipe, a table and a trained run, all of them tiny.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phi3k_trainer import dump_recipe, load_recipe, ready_recipe
from tests.pages import CHECKOUT, PAGES, Block, blocks

COMMANDS = [block for page in PAGES for block in blocks(page) if block.language == "sh" and not block.marks]
TINY = "{hidden_size: 32, num_layers: 2, vision_hidden_size: 32, vision_num_layers: 2, patch_size: 84}"
SMALL = [
    "name=my-recipe",
    "data.sample.rows=24",
    f"model.tiny={TINY}",
    "model.num_crops=1",
    "training.max_steps=2",
    "training.tokens_per_step=400",
    "training.tokens_per_batch=400",
    "evaluation.max_samples=1",
    "evaluation.max_new_tokens=2",
    "tracking.wandb.mode=off",
]


def run(commands: str, directory: Path) -> str:
    """What a shell prints, for which `phi3k` and `.venv/bin/phi3k` are the program under test."""
    programs = Path(sys.executable).parent
    environment = {**os.environ, "HOME": str(directory), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with all that the pages speak of."""
    place = tmp_path_factory.mktemp("reader")
    (place / ".venv").mkdir()
    (place / ".venv/bin").symlink_to(Path(sys.executable).parent)
    (place / "recipes").symlink_to(CHECKOUT / "recipes")
    (place / "my-recipe.yaml").write_text(dump_recipe(load_recipe(ready_recipe("demo"), SMALL)), encoding="utf-8")
    rows = [{"title": f"Coat {number}", "kind": "COATS", "price": 100.0 + number} for number in range(60)]
    pq.write_table(pa.Table.from_pylist(rows), place / "real.parquet")
    run("phi3k train my-recipe.yaml --set name=burberry-lora", place)
    return place


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_the_commands_of_a_page_run(block: Block, directory: Path) -> None:
    run(re.sub(r"--rows \d+", "--rows 40", block.code), directory)


def test_pages_have_commands_that_run_here() -> None:
    verbs = {line.removeprefix(".venv/bin/").split("#")[0].strip() for block in COMMANDS for line in block.lines}
    assert len(verbs) > 10
