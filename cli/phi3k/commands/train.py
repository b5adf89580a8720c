"""`phi3k train`."""

from typing import Annotated

import typer

from phi3k.options import Output, OutputOption, RecipeArgument, SetOption, read_recipe
from phi3k.printing import print_json


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb to the command, under the heading `panel` of its help."""
    app.command(rich_help_panel=panel)(train)


def train(
    recipe: RecipeArgument,
    overrides: SetOption,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the newest intact checkpoint, if there is one.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Train a recipe on this machine.

    All files of the run go to <checkpoint.directory>/<name>. For several GPUs run it under torchrun.

    Examples:
    phi3k train recipes/demo.yaml

    phi3k train burberry-lora --set training.learning_rate=1e-4 --resume

    torchrun --nproc-per-node 8 -m phi3k.main train recipes/burberry-full-8gpu.yaml
    """
    in_force = read_recipe(recipe, overrides)
    from rich.console import Console

    from phi3k_trainer.training.run import train as run_training

    # With --output json standard output holds the result alone; progress goes to the other stream.
    result = run_training(in_force, resume=resume, console=Console(stderr=output is Output.JSON))
    if output is Output.JSON:
        print_json(
            {
                "directory": str(result.directory.path),
                "steps": result.steps,
                "checkpoint": str(result.checkpoint),
                "export": str(result.export) if result.export else None,
            }
        )
