"""report.html in a real browser: it shows the run, in light and dark, and asks nobody for anything."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from phi3k_trainer.errors import MissingInputError
from phi3k_trainer.evaluation.evaluate import Evaluation, ScoredAnswers
from phi3k_trainer.evaluation.metrics import baseline_scores, score_field
from phi3k_trainer.evaluation.predictions import Prediction
from phi3k_trainer.recipe import dump_recipe, parse_recipe
from phi3k_trainer.tracking.report import write_report
from phi3k_trainer.tracking.start import start_tracking

RECIPE = parse_recipe(
    """
    apiVersion: phi3k/v1
    name: shown
    model: {base: tiny}
    data: {source: sample, prompt: "What is this?", answer: "Product: {title}, Category: {kind}, Price: {price}"}
    tracking: {wandb: {mode: off}}
    """
)
KINDS = {"title": "text", "kind": "category", "price": "number"}
# (in the data, answered) by row; markup in the data must stay text.
ROWS = [
    (("Red <b>Coat</b>", "COATS", "100"), ("Red <b>Coat</b>", "COATS", "104")),
    (("Blue Scarf", "SCARVES", "50"), ("Blue Shirt", "SCARVES", "80")),
    (("Teal Bag", "BAGS", "200"), None),
]


def fields(values: tuple[str, str, str]) -> dict[str, str]:
    return dict(zip(KINDS, values, strict=True))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The directory of a run, written by the parts that write one."""
    directory = tmp_path / "run"
    tracker = start_tracking(RECIPE, directory, run_id="id", step=0, total_steps=30, console=Console(quiet=True))
    for step in range(1, 31):
        tracker.log(
            step,
            {
                "train/loss": float("nan") if step == 9 else 4 / step,
                "train/grad_norm": 1.0,
                "train/learning_rate": 1e-3 / step,
                "train/tokens_per_second": 2000.0 + step,
                "train/step_seconds": 0.5,
            },
        )
        if step % 10 == 0:
            tracker.log(step, {"eval/loss": 5 / step})
    tracker.finish(0)
    (directory / "recipe.yaml").write_text(dump_recipe(RECIPE))
    (directory / "quarantine.jsonl").write_text(json.dumps({"key": "7", "reason": "too_large", "detail": "x"}) + "\n")
    predictions = []
    for number, (wanted, given) in enumerate(ROWS):
        picture = tmp_path / f"{number}.png"
        Image.new("RGB", (60, 40), ("red", "blue", "teal")[number]).save(picture)
        answer = None if given is None else fields(given)
        predictions.append(
            Prediction(str(number), (picture,), "What is this?", str(wanted), str(given), fields(wanted), answer)
        )
    columns = {name: [one.target_fields[name] for one in predictions] for name in KINDS}
    answers = {name: [(one.answer_fields or {}).get(name) for one in predictions] for name in KINDS}
    scores = {name: score_field(kind, columns[name], answers[name]) for name, kind in KINDS.items()}  # type: ignore[arg-type]
    blind = {name: score_field(kind, columns[name], answers[name][::-1]) for name, kind in KINDS.items()}  # type: ignore[arg-type]
    baselines = {name: baseline_scores(kind, columns[name], columns[name]) for name, kind in KINDS.items()}  # type: ignore[arg-type]
    evaluation = Evaluation("shown", 30, 3, 9, 2 / 3, 1 / 3, scores, blind, baselines)
    ScoredAnswers(evaluation, tuple(predictions)).write(directory)
    return directory


def browse(*arguments: str, profile: Path) -> subprocess.CompletedProcess[str]:
    browser = shutil.which("chromium")
    assert browser is not None, "Debian's chromium is needed: apt-get install chromium"
    quiet = ("--disable-background-networking", "--disable-component-update", "--no-first-run", "--hide-scrollbars")
    command = [browser, "--headless=new", "--no-sandbox", *quiet, f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_the_page_shows_the_run_without_an_error_or_a_request(run: Path, tmp_path: Path) -> None:
    path = write_report(run)
    log = tmp_path / "net.json"
    shown = browse(
        "--enable-logging=stderr", f"--log-net-log={log}", "--dump-dom", path.as_uri(), profile=tmp_path / "profile"
    )
    assert "CONSOLE" not in shown.stderr
    asked = [
        event["params"]["url"]
        for event in json.loads(log.read_text())["events"]
        if str(event.get("params", {}).get("url", "")).startswith(("http", "ws"))
        and str(event["params"].get("initiator", "")).startswith(("file", "null"))
    ]
    assert asked == []

    text = unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", shown.stdout, flags=re.DOTALL))
    words = " ".join(text.split())
    for part in (
        "shown",
        "3 rows that the model never learned from",
        "33.3 %",  # titles exactly right
        "66.7 %",  # categories
        "Red <b>Coat</b>",
        "in the data: Blue Scarf",
        "not in the template's form",
        "too_large",
        "apiVersion: phi3k/v1",
        "last training loss",
    ):
        assert part in words, part
    assert shown.stdout.count('src="data:image/jpeg') == 3


def test_it_has_a_light_and_a_dark_face(run: Path, tmp_path: Path) -> None:
    path = write_report(run)
    corners = []
    for dark in ([], ["--force-dark-mode"]):
        picture = tmp_path / "shot.png"
        browse(
            *dark,
            "--window-size=900,1400",
            f"--screenshot={picture}",
            path.as_uri(),
            profile=tmp_path / f"p{len(dark)}",
        )
        with Image.open(picture) as shot:
            grey = shot.convert("L")
            corners.append(grey.getpixel((2, 2)))
            lowest, highest = grey.getextrema()
        assert highest - lowest > 180, "text stands out from its ground"
    assert corners[0] > 220
    assert corners[1] < 40


def test_it_does_not_break_on_a_narrow_window(run: Path, tmp_path: Path) -> None:
    page = write_report(run).read_text()
    probe = tmp_path / "probe.html"
    frame = "<iframe id=f src=report.html style='width:390px;height:800px'></iframe>"
    script = "<script>f.onload=()=>{document.title=f.contentDocument.documentElement.scrollWidth}</script>"
    (tmp_path / "report.html").write_text(page)
    probe.write_text(f"<!doctype html><title>-</title>{frame}{script}")
    shown = browse("--allow-file-access-from-files", "--dump-dom", probe.as_uri(), profile=tmp_path / "profile").stdout
    width = re.search(r"<title>(\d+)</title>", shown)
    assert width is not None
    assert int(width[1]) <= 390


def test_a_run_that_was_not_evaluated_says_how_to(run: Path) -> None:
    (run / "evaluation.json").unlink()
    assert f"phi3k eval {run}" in write_report(run).read_text()


def test_pictures_that_are_gone_leave_the_rest(run: Path, tmp_path: Path) -> None:
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").write_bytes(b"no picture")
    assert write_report(run).read_text().count("picture gone") == 2


def test_another_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"no recipe\.yaml"):
        write_report(tmp_path)
