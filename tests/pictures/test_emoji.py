"""Real pictures that nobody here drew: the emoji recipe learns their categories. Minutes long."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
PHI3K = Path(sys.executable).with_name("phi3k")
MAJORITY = 0.20
"""386 of the 1,911 pictures are of people."""


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The scores of the ready recipe, trained here."""
    directory = tmp_path_factory.mktemp("emoji")
    shutil.copytree(REPOSITORY / "data" / "emoji", directory / "data" / "emoji")
    subprocess.run([PHI3K, "train", REPOSITORY / "recipes" / "emoji.yaml"], cwd=directory, check=True)
    return json.loads((directory / "runs" / "emoji" / "evaluation.json").read_text())


@pytest.mark.timeout(1500)
def test_categories_are_read_off_pictures_it_has_never_seen(evaluation: dict[str, Any]) -> None:
    assert evaluation["samples"] >= 200
    assert evaluation["fields"]["category"]["accuracy"] >= 2 * MAJORITY


def test_with_the_wrong_picture_it_knows_a_third_at_most(evaluation: dict[str, Any]) -> None:
    assert 3 * evaluation["blind"]["category"]["accuracy"] <= evaluation["fields"]["category"]["accuracy"]
