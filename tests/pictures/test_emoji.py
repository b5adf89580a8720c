"""Real pictures that nobody here drew: the emoji recipe learns their categories. Minutes long."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.long_command import Limits, run_long_command

# Its own limits stop what hangs; a wall time would stop it on a busy machine.
pytestmark = pytest.mark.timeout(0)

REPOSITORY = Path(__file__).parents[2]
LIMITS = Limits(cpu=1500)
PHI3K = Path(sys.executable).with_name("phi3k")
MAJORITY = 0.20
"""386 of the 1,911 pictures are of people."""


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The scores of the ready recipe, trained here."""
    directory = tmp_path_factory.mktemp("emoji")
    shutil.copytree(REPOSITORY / "data" / "emoji", directory / "data" / "emoji")
    command = [PHI3K, "train", REPOSITORY / "recipes" / "emoji.yaml"]
    run_long_command(command, directory, directory / "output.txt", LIMITS)
    return json.loads((directory / "runs" / "emoji" / "evaluation.json").read_text())


def test_categories_are_read_off_pictures_it_has_never_seen(evaluation: dict[str, Any]) -> None:
    assert evaluation["samples"] >= 200
    assert evaluation["fields"]["category"]["accuracy"] >= 2 * MAJORITY


def test_with_the_wrong_picture_it_knows_a_third_at_most(evaluation: dict[str, Any]) -> None:
    assert 3 * evaluation["blind"]["category"]["accuracy"] <= evaluation["fields"]["category"]["accuracy"]
