"""report.html: a run on one page that opens without network."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from phi3k_trainer.contract import TRAIN_LOSS
from phi3k_trainer.data.quarantine import read_quarantine
from phi3k_trainer.errors import MissingInputError
from phi3k_trainer.evaluation.evaluate import Evaluation
from phi3k_trainer.evaluation.predictions import read_predictions
from phi3k_trainer.files import damage_named, read_document, read_json, write_atomically
from phi3k_trainer.page.charts import Series, line_chart
from phi3k_trainer.page.html import Html, Section, columns, element, facts, join, number, page, table
from phi3k_trainer.recipe import Recipe, load_recipe
from phi3k_trainer.run_directory import ENVIRONMENT, RECIPE, REMEDIES, RunDirectory
from phi3k_trainer.tracking.metrics_file import read_metrics
from phi3k_trainer.tracking.report_predictions import prediction_cards
from phi3k_trainer.tracking.report_scores import score_cards, score_table

Metrics = Sequence[Mapping[str, Any]]


def write_report(run_directory: Path) -> Path:
    """Write report.html from what lies in the run's directory; what is not there yet is left out.

    Returns:
        The path of the page.

    Raises:
        MissingInputError: there is no recipe.yaml: this is not a run's directory; or a file in it can't be used.
        StorageError: the page can't be written.
    """
    directory = RunDirectory(run_directory)
    if not directory.recipe.exists() and not directory.recipe.is_symlink():
        raise MissingInputError(f"{run_directory} is not the directory of a run: it has no {RECIPE}")
    directory.check_kinds()
    with damage_named(directory.recipe, REMEDIES[RECIPE]):
        recipe_text = read_document(directory.recipe).decode()
    recipe = load_recipe(directory.recipe)
    metrics = read_metrics(directory.metrics)
    sections = [
        *_evaluation_sections(directory, recipe),
        Section("Training", _training(metrics)),
        *_quarantine_section(directory.quarantine),
        Section("Recipe", element("pre", None, recipe_text)),
        *_environment_section(directory.environment),
    ]
    document = page(recipe.name, sections, subtitle=_subtitle(recipe, metrics))
    write_atomically(directory.report, document.encode(errors="backslashreplace"), "checkpoint.directory")
    return directory.report


def _subtitle(recipe: Recipe, metrics: Metrics) -> str:
    parts = [f"{recipe.model.base}, {recipe.tuning.method} tuning", f"data: {recipe.data.path or recipe.data.source}"]
    if metrics:
        parts.append(f"step {metrics[-1]['step']:,}")
        parts.append(f"{datetime.fromtimestamp(metrics[-1]['time'], UTC):%Y-%m-%d %H:%M} UTC")
    return " · ".join(parts)


def _evaluation_sections(directory: RunDirectory, recipe: Recipe) -> Iterator[Section]:
    if not directory.evaluation.is_file():
        yield Section("Results", Html(), f"Not evaluated yet: phi3k eval {directory.path}")
        return
    evaluation = Evaluation.read(directory.evaluation)
    note = (
        f"{evaluation.samples:,} rows that the model never learned from, after step {evaluation.step:,}. "
        f"{100 * evaluation.parsed:.1f} % of the answers have the template's form. "
        "Blind is the same model with the pictures shuffled between rows: what it still gets right is not read off "
        "the picture. The baseline always gives the same answer."
    )
    if evaluation.lengths and (remark := evaluation.lengths.remark()):
        note += f" {remark}"
    yield Section("Results", join([score_cards(evaluation), score_table(evaluation)]), note)
    answers = directory.predictions(evaluation.step)
    if answers.exists() or answers.is_symlink():
        kinds = {name: str(scores["kind"]) for name, scores in evaluation.fields.items()}
        cards = prediction_cards(read_predictions(answers), kinds, recipe.data.max_pixels)
        yield Section("Predictions", cards, "The first held-out rows. A number within 10 % counts as right.")


def _training(metrics: Metrics) -> Html:
    charts = [
        line_chart(_series(metrics, {TRAIN_LOSS: "training", "eval/loss": "held-out"}), title="Loss", x_label="step"),
        line_chart(
            _series(
                metrics,
                {
                    "train/learning_rate": "language model",
                    "train/learning_rate_vision": "vision",
                    "train/learning_rate_projector": "projector",
                },
            ),
            title="Learning rate",
            x_label="step",
        ),
        line_chart(_series(metrics, {"train/tokens_per_second": "tokens/s"}), title="Tokens a second", x_label="step"),
        line_chart(_series(metrics, {"train/grad_norm": "norm"}), title="Gradient norm", x_label="step"),
    ]
    return join([facts(_figures(metrics)), element("div", {"class": "gap"}), columns(*charts)])


def _series(metrics: Metrics, names: Mapping[str, str]) -> list[Series]:
    """The curves of those metrics that were logged at all."""
    series = []
    for metric, name in names.items():
        points = [(line["step"], _plain(line[metric])) for line in metrics if metric in line]
        if points:
            series.append(Series(name, [step for step, _ in points], [value for _, value in points]))
    return series


def _plain(value: float | None) -> float:
    return float("nan") if value is None else value


def _figures(metrics: Metrics) -> dict[str, object]:
    def values(name: str) -> list[float]:
        return [line[name] for line in metrics if line.get(name) is not None]

    figures: dict[str, object] = {}
    if losses := values(TRAIN_LOSS):
        figures["last training loss"] = losses[-1]
    if losses := values("eval/loss"):
        figures["best held-out loss"] = min(losses)
    if speeds := values("train/tokens_per_second"):
        figures["median tokens/s"] = round(median(speeds))
    if speeds := values("train/samples_per_second"):
        figures["median samples/s"] = median(speeds)
    if shares := values("train/mfu"):
        figures["median MFU"] = f"{100 * median(shares):.1f} %"
    if sizes := values("train/memory_gb"):
        figures["peak memory"] = f"{number(max(sizes))} GB"
    if seconds := values("train/step_seconds"):
        figures["time in steps"] = f"{sum(seconds) / 60:.1f} min"
    return figures


def _quarantine_section(path: Path) -> Iterator[Section]:
    if not path.is_file():
        return
    reasons = Counter(rejection.reason for rejection in read_quarantine(path))
    if reasons:
        yield Section("Rows set aside", table(("reason", "rows"), reasons.most_common()), f"Listed in {path.name}.")


def _environment_section(path: Path) -> Iterator[Section]:
    if path.is_file():
        environment = read_json(path, REMEDIES[ENVIRONMENT])
        yield Section("Environment", table(("", ""), list(_flat(environment))))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name} ")
        elif value not in (None, []):
            yield prefix + name, value if isinstance(value, str) else json.dumps(value)
