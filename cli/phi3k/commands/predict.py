"""`phi3k predict`."""

from pathlib import Path
from typing import Annotated

import typer

from phi3k.options import Output, OutputOption, RunDirectoryArgument
from phi3k.printing import print_json, say


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb to the command, under the heading `panel` of its help."""
    app.command(rich_help_panel=panel)(predict)


def predict(
    run: RunDirectoryArgument,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Picture files.")],
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="What to ask; the question of the run's recipe by default.")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Ask a trained model about pictures.

    Examples:
    phi3k predict runs/demo coat.png bag.jpg

    phi3k predict runs/demo *.png --prompt "What is shown in this image?" --output json
    """
    from phi3k_trainer.trained.asking import predict as ask

    answers = ask(run, images, prompt=prompt)
    if output is Output.JSON:
        pairs = zip(images, answers, strict=True)
        print_json([{"image": str(image), "answer": answer} for image, answer in pairs])
        return
    for image, answer in zip(images, answers, strict=True):
        say(f"{image}: {answer}" if len(images) > 1 else answer)
