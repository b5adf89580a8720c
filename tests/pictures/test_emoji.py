"""Real pictures that nobody here drew: the emoji recipe learns their categories. Minutes long."""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from phi3k_trainer.evaluation.predictions import read_predictions
from tests.long_command import Limits, run_long_command

# Its own limits stop what hangs; a wall time would stop it on a busy machine.
pytestmark = pytest.mark.timeout(0)

REPOSITORY = Path(__file__).parents[2]
LIMITS = Limits(cpu=1500)
PHI3K = Path(sys.executable).with_name("phi3k")
MAJORITY = 0.20
"""386 of the 1,911 pictures are of people."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of the ready recipe, trained here."""
    directory = tmp_path_factory.mktemp("emoji")
    shutil.copytree(REPOSITORY / "data" / "emoji", directory / "data" / "emoji")
    command = [PHI3K, "train", REPOSITORY / "recipes" / "emoji.yaml"]
    run_long_command(command, directory, directory / "output.txt", LIMITS)
    return directory / "runs" / "emoji"


@pytest.fixture
def evaluation(run: Path) -> dict[str, Any]:
    return json.loads((run / "evaluation.json").read_text())


@pytest.fixture
def wrong_picture_accuracy(run: Path, evaluation: dict[str, Any]) -> float:
    """How often the answer about one picture has the category of another, over all pairs of held-out pictures.

    All rows ask the same question, so the answer depends on the picture alone. The report shows one shuffle of the
    pictures, whose score is one draw around this mean.
    """
    predictions = read_predictions(run / "predictions" / f"step-{evaluation['step']}.jsonl")
    targets = Counter(one.target_fields["category"] for one in predictions)
    answers = Counter((one.answer_fields or {}).get("category") for one in predictions)
    right = sum(one.target_fields["category"] == (one.answer_fields or {}).get("category") for one in predictions)
    pairs = len(predictions) * (len(predictions) - 1)
    return (sum(targets[category] * answers[category] for category in targets) - right) / pairs


def test_categories_are_read_off_pictures_it_has_never_seen(evaluation: dict[str, Any]) -> None:
    assert evaluation["samples"] >= 200
    assert evaluation["fields"]["category"]["accuracy"] >= 2 * MAJORITY


def test_with_the_wrong_picture_it_knows_a_third_at_most(
    evaluation: dict[str, Any], wrong_picture_accuracy: float
) -> None:
    assert 3 * wrong_picture_accuracy <= evaluation["fields"]["category"]["accuracy"]


def test_the_blind_control_is_a_draw_around_that(evaluation: dict[str, Any], wrong_picture_accuracy: float) -> None:
    deviation = (wrong_picture_accuracy * (1 - wrong_picture_accuracy) / evaluation["samples"]) ** 0.5
    assert abs(evaluation["blind"]["category"]["accuracy"] - wrong_picture_accuracy) <= 4 * deviation
