"""`phi3k export` and `phi3k upload`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from phi3k.options import Output, OutputOption, RunDirectoryArgument
from phi3k.printing import print_json, say
from phi3k_trainer.errors import MissingInputError, UsageError


class WeightsChoice(StrEnum):
    """Which weights of a run."""

    LAST = "last"
    BEST = "best"


def register(app: typer.Typer, panel: str) -> None:
    """Add the verbs to the command, under the heading `panel` of its help."""
    app.command(rich_help_panel=panel)(export)
    app.command(rich_help_panel=panel)(upload)


def export(
    run: RunDirectoryArgument,
    destination: Annotated[Path, typer.Argument(help="A directory that is empty or does not exist.")],
    adapters: Annotated[
        bool, typer.Option("--adapters", help="Write the adapters alone, in PEFT's format, instead of a whole model.")
    ] = False,
    weights: Annotated[
        WeightsChoice,
        typer.Option(
            "--weights",
            help="The newest checkpoint's, as eval and predict use them, or those of the best evaluation "
            "(by the recipe's export.score).",
        ),
    ] = WeightsChoice.LAST,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write what a run has learned as a model in the published layout, adapters merged.

    The export is loaded again and its logits are compared before the directory appears. With export.at_end in its
    recipe the run does this itself.

    Examples:
    phi3k export runs/burberry-lora models/burberry

    phi3k export runs/burberry-lora models/burberry --weights best

    phi3k export runs/burberry-lora models/burberry-adapters --adapters
    """
    from phi3k_trainer.trained.export import export_run

    exported = export_run(run, destination, form="adapter" if adapters else "merged", weights=weights.value)
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


def upload(
    directory: Annotated[Path, typer.Argument(help="What to write, such as an export.")],
    address: Annotated[str, typer.Argument(help="The folder of an object store, such as s3://bucket/models/name.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Write a directory to an object store; a manifest comes last, so that a reader finds it whole or not at all.

    The same command continues an upload that was cut off, and replaces the files of an older one.

    Examples:
    phi3k upload models/burberry s3://team/models/burberry
    """
    from phi3k_trainer.remote.addresses import STORES, has_pattern, is_address
    from phi3k_trainer.remote.uploading import MANIFEST
    from phi3k_trainer.remote.uploading import upload as write

    if not is_address(address) or has_pattern(address):
        known = ", ".join(f"{scheme}://" for scheme in STORES)
        raise UsageError(
            f"{address} should be a folder of an object store, such as s3://bucket/name (known are {known})"
        )
    if not directory.is_dir():
        raise MissingInputError(f"{directory} is not a directory: `phi3k export` writes one")
    absolute = directory.absolute()
    written = write(absolute, address.rstrip("/"), absolute.with_name(f".{absolute.name}.upload.json"))
    if output is Output.JSON:
        print_json({"address": address, "written": written})
        return
    say(f"{address} holds what {directory} does, {written} files written now; {MANIFEST} there names them all.")
