"""Line separators in answers and names that are not UTF-8, from training to the last report and answer."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from phi3k_trainer.trained.asking import evaluate_run, predict
from tests import small_runs

LABELS = ("coat\u2028long", "cape\x85short")
"""Names of folders, so the answers: with what Unicode counts as the end of a line."""
SETTINGS = ("training.max_steps=4", "evaluation.max_new_tokens=2", "tracking.wandb.mode=offline")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("odd")
    path = small_runs.write_recipe(directory)
    for number, label in enumerate(LABELS):
        (directory / "pictures" / label).mkdir(parents=True)
        for index in range(10):
            Image.new("RGB", (40, 30), (20 * index, 90 * number, index)).save(directory / "made.png")
            (directory / "made.png").rename(directory / "pictures" / label / os.fsdecode(b"caf\xe9%d.png" % index))
    text = path.read_text().replace("source: jsonl", "source: imagefolder").replace("rows.jsonl", "pictures")
    path.write_text(text.replace("  image: image\n", "").replace("Colour: {colour}, Size: {size}", "{label}"))
    return path


def test_odd_text_goes_through_training_and_its_continuation(recipe: Path) -> None:
    run = small_runs.run(recipe, *SETTINGS)
    small_runs.run(recipe, *SETTINGS, resume=True)
    log = (recipe.parent / "log.txt").read_text()
    assert "failed" not in log
    assert "held-out answers are longer than evaluation.max_new_tokens 2" in log
    lines = (run / "predictions" / "step-4.jsonl").read_bytes().decode().splitlines()
    assert {json.loads(line)["target"] for line in lines} <= set(LABELS)
    page = (run / "report.html").read_text()
    assert "picture gone" not in page
    assert "held-out answers are longer than evaluation.max_new_tokens 2" in page


def test_a_run_on_odd_text_is_asked_again(recipe: Path) -> None:
    run = small_runs.run_path(recipe, *SETTINGS)
    evaluated = evaluate_run(run).evaluated
    picture = evaluated.predictions[0].images[0]
    assert b"caf\xe9" in os.fsencode(picture)
    assert predict(run, [picture]) == [evaluated.predictions[0].answer]
