"""`phi3k export`."""

from pathlib import Path
from typing import Annotated

import typer

from phi3k.options import Output, OutputOption, RunDirectoryArgument
from phi3k.printing import print_json, say


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb to the command, under the heading `panel` of its help."""
    app.command(rich_help_panel=panel)(export)


def export(
    run: RunDirectoryArgument,
    destination: Annotated[Path, typer.Argument(help="A directory that is empty or does not exist.")],
    adapters: Annotated[
        bool, typer.Option("--adapters", help="Write the adapters alone, in PEFT's format, instead of a whole model.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write what a run has learned as a model in the published layout, adapters merged.

    The export is loaded again and its logits are compared before the directory appears.

    Examples:
    phi3k export runs/burberry-lora models/burberry

    phi3k export runs/burberry-lora models/burberry-adapters --adapters
    """
    from phi3k_trainer.trained.export import export_adapters, export_run

    exported = (export_adapters if adapters else export_run)(run, destination)
    if output is Output.JSON:
        print_json(
            {
                "path": str(exported.path),
                "step": exported.step,
                "reload_difference": exported.reload_difference,
                "merge_difference": exported.merge_difference,
                "only_phi3k_because": exported.only_phi3k_because or None,
            }
        )
        return
    say(
        f"{exported.path} holds step {exported.step}; logits differ by {exported.reload_difference:.1e} after reading "
        f"it again, and by {exported.merge_difference:.1e} from the run's own."
    )
    if exported.only_phi3k_because:
        say(f"Other programs can't load it: {exported.only_phi3k_because}.")
