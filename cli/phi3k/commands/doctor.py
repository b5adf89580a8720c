"""`phi3k doctor`."""

from typing import Annotated

import typer

from phi3k.options import Output, OutputOption, SetOption, read_recipe
from phi3k.printing import print_json, print_table, say


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb to the command, under the heading `panel` of its help."""
    app.command(rich_help_panel=panel)(doctor)


def doctor(
    overrides: SetOption,
    recipe: Annotated[
        str | None, typer.Argument(metavar="[RECIPE]", help="Also check the paths and the tracker of this recipe.")
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", min=0, help="Fail if fewer GPUs than this are visible.")] = 0,
    output: OutputOption = Output.TEXT,
) -> None:
    """Look at this machine: GPUs, driver, torch, NCCL, memory, disks, writable paths, W&B, versions.

    Ends with exit code 69 when something that training needs is missing.

    Examples:
    phi3k doctor

    phi3k doctor recipes/burberry-lora.yaml --gpus 8 --output json
    """
    in_force = read_recipe(recipe, overrides) if recipe else None
    from phi3k.doctor_checks import Status, all_checks

    checks = all_checks(in_force, gpus)
    failed = [check for check in checks if check.status is Status.FAILED]
    if output is Output.JSON:
        print_json({"healthy": not failed, "checks": [check.as_json() for check in checks]})
    else:
        print_table(("Check", "", "Found"), [(check.name, check.status, check.found) for check in checks])
        for check in checks:
            if check.advice:
                say(f"{check.name}: {check.advice}")
    if failed:
        raise typer.Exit(69)
