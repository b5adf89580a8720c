"""`phi3k plan`."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from phi3k.options import Output, OutputOption, RecipeArgument, SetOption, read_recipe
from phi3k.printing import duration, print_json, print_table, say
from phi3k_trainer.errors import UsageError

if TYPE_CHECKING:
    from phi3k_trainer.planning import GpuPlan, Plan


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb to the command, under the heading `panel` of its help."""
    app.command(rich_help_panel=panel)(plan)


def plan(
    recipe: RecipeArgument,
    overrides: SetOption,
    gpu: Annotated[
        list[str],
        typer.Option(
            "--gpu",
            metavar="NAME",
            help="Only this GPU, such as A100-80GB; may be repeated.",
            default_factory=list,
            show_default=False,
        ),
    ],
    rows: Annotated[
        int | None,
        typer.Option("--rows", min=1, help="Number of training rows, if it does not follow from the recipe."),
    ] = None,
    text_tokens: Annotated[int, typer.Option("--text-tokens", min=1, help="Tokens of text in a sample.")] = 54,
    picture: Annotated[
        str, typer.Option("--picture", metavar="WxH", help="Size of a typical picture in pixels.")
    ] = "1000x1000",
    output: OutputOption = Output.TEXT,
) -> None:
    """Estimate what a recipe needs: weights, memory, time, and the GPUs it fits on. Downloads nothing.

    Examples:
    phi3k plan burberry-lora

    phi3k plan burberry-full-8gpu --gpu A100-80GB --set training.tokens_per_batch=4096

    phi3k plan own.yaml --rows 20000 --picture 1200x1600 --output json
    """
    in_force = read_recipe(recipe, overrides)
    from phi3k_trainer.planning import GPUS, find_gpu
    from phi3k_trainer.planning import plan as make_plan

    planned = make_plan(
        in_force,
        gpus=tuple(find_gpu(name) for name in gpu) or GPUS,
        rows=rows,
        text_tokens=text_tokens,
        picture=_size(picture),
    )
    if output is Output.JSON:
        print_json(planned.as_json())
    else:
        _print(planned)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if not match:
        raise UsageError(f"--picture {text}: should be width x height in pixels, such as 1000x1500")
    return int(match[1]), int(match[2])


def _print(planned: "Plan") -> None:
    from phi3k_trainer.planning.plan import NO_BFLOAT16

    sample = planned.sample
    weights, learning = planned.parameters, planned.trainable
    print_table(
        ("Weights", "Stored", "Trained"),
        [
            (part, f"{getattr(weights, part):,}", f"{getattr(learning, part):,}")
            for part in ("embedding", "language", "head", "vision", "projector", "total")
        ],
        title=f"{planned.recipe}: {planned.base}, {planned.method}",
    )
    say(
        f"A sample: {sample.tokens:,} tokens ({sample.text_tokens:,} text, {sample.image_tokens:,} picture, "
        f"{sample.views} views), {planned.flops_per_sample / 1e12:.3g} TFLOP; "
        f"about {planned.samples_per_step:.0f} samples a step."
    )
    checkpoint = planned.checkpoint
    say(
        f"A checkpoint: {_gib(checkpoint.size_bytes)} GiB, at most {checkpoint.kept} on disk at once "
        f"({_gib(checkpoint.kept * checkpoint.size_bytes)} GiB). Saving every {duration(checkpoint.every_seconds)} "
        "wastes the least time at 1 GB/s and one failure a day."
    )
    _print_gpus("On one GPU", planned.one_gpu, planned)
    if planned.gpus > 1:
        _print_gpus(f"On {planned.gpus} GPUs, as the recipe asks", planned.layout, planned)
    if any(gpu.reason == NO_BFLOAT16 for gpu in planned.one_gpu):
        say(f"{NO_BFLOAT16}: --set model.dtype=float32 runs there, in more memory and time.")
    say(
        "Memory is the peak of one GPU; Optim. holds gradients and moments.\n"
        "Time assumes the utilisation that published scripts reach (22-27 %).\n"
        "No data was read: `phi3k data check` counts the answers that are longer than evaluation.max_new_tokens "
        f"({planned.max_new_tokens}) allows."
    )


def _print_gpus(title: str, rows: tuple["GpuPlan", ...], planned: "Plan") -> None:
    epoch = "Epoch" if planned.rows is not None else "1,000 rows"
    headings = ("GPU", "Layout", "Weights", "Optim.", "Activ.", "Other", "Peak", "Fits", "Rows/s", epoch)
    print_table(headings, [_row(gpu, planned.rows or 1000) for gpu in rows], title=f"{title}, memory in GiB")


def _row(gpu: "GpuPlan", rows: int) -> tuple[str, ...]:
    needed = gpu.needed
    speed = gpu.samples_per_second
    return (
        gpu.gpu,
        gpu.parallel + (", recompute" if gpu.activation_checkpointing else ""),
        _gib(needed.weights),
        _gib(needed.gradients + needed.optimizer),
        _gib(needed.activations),
        _gib(needed.logits + needed.gathered + needed.runtime),
        _gib(needed.total),
        "yes" if gpu.fits else gpu.reason or "no",
        f"{speed:.1f}" if speed is not None else "-",
        duration(rows / speed) if speed is not None else "-",
    )


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f}"
