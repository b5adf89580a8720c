"""`phi3k eval`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phi3k.options import Output, OutputOption, SetOption, read_recipe
from phi3k.printing import print_json, print_table, say

if TYPE_CHECKING:
    from phi3k_trainer.evaluation.evaluate import Evaluation
    from phi3k_trainer.evaluation.metrics import Scores


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb to the command, under the heading `panel` of its help."""
    app.command(name="eval", rich_help_panel=panel)(evaluate)


SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN|RECIPE", help="A run's directory, one of its checkpoints, or a recipe: its base model, untuned."
    ),
]


def evaluate(source: SourceArgument, overrides: SetOption, output: OutputOption = Output.TEXT) -> None:
    """Score answers on the held-out rows, beside the blind control and the baselines.

    Writes evaluation.json, the predictions and report.html into the run's directory; for a recipe, whose base model
    is scored as it is before tuning, into <checkpoint.directory>/<name>/before.

    Examples:
    phi3k eval runs/demo

    phi3k eval recipes/demo-lora.yaml

    phi3k eval runs/burberry-lora/checkpoints/step-000120 --set evaluation.max_samples=1000
    """
    from rich.console import Console

    from phi3k_trainer.trained.asking import evaluate_base, evaluate_run

    console = Console(stderr=True)
    if Path(source).expanduser().is_dir():
        found = evaluate_run(source, overrides, console=console)
    else:
        found = evaluate_base(read_recipe(source, overrides), console=console)
    evaluation = found.evaluated.evaluation
    if output is Output.JSON:
        print_json({**asdict(evaluation), "report": str(found.report)})
    else:
        _print(evaluation)
        say(str(found.report))


def _print(evaluation: "Evaluation") -> None:
    rows = []
    for field, scores in evaluation.fields.items():
        blind = (evaluation.blind or {}).get(field, {})
        baseline = evaluation.baselines.get(field, {})
        rows += [
            (f"{field}: {metric}", _number(scores, metric), _number(blind, metric), _number(baseline, metric))
            for metric, value in scores.items()
            if isinstance(value, int | float)
        ]
    print_table(
        ("Held-out rows", "Score", "Blind", "Baseline"),
        rows,
        title=f"{evaluation.run}, step {evaluation.step}: {evaluation.samples} rows, "
        f"{evaluation.parsed:.0%} of the answers in the template's form, {evaluation.exact_match:.0%} exact",
    )


def _number(scores: "Scores", metric: str) -> str:
    value = scores.get(metric)
    return f"{value:.4g}" if isinstance(value, int | float) else "-"
