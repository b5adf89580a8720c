"""`phi3k data`: make, fetch, check and look at data."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phi3k.data_push import push
from phi3k.options import Output, OutputOption, RecipeArgument, SetOption, read_recipe
from phi3k.printing import print_json, print_table, say

if TYPE_CHECKING:
    from phi3k_trainer.data.checking import DataCheck
    from phi3k_trainer.data.dataset import Dataset
    from phi3k_trainer.recipe import Recipe

app = typer.Typer(name="data", help="Make, fetch, check, compare and push data.", no_args_is_help=True)
app.command()(push)


@app.command()
def sample(
    directory: Annotated[Path, typer.Argument(help="Where to write the catalogue.")],
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows, each with its picture.")] = 3000,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same catalogue, byte for byte.")] = 0,
    like: Annotated[
        Path | None,
        typer.Option("--like", help="Imitate this real table: its structure and diversity, none of its rows."),
    ] = None,
    image_size: Annotated[int, typer.Option("--image-size", min=32, max=4096, help="Edge of the pictures.")] = 336,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a sample catalogue: rendered product pictures with titles, categories and prices that follow from them.

    Examples:
    phi3k data sample data/sample --rows 3000

    phi3k data sample data/like --like real.parquet --rows 10000
    """
    from phi3k_trainer.data.sample.catalogue import write_catalogue
    from phi3k_trainer.data.sample.like import write_catalogue_like
    from phi3k_trainer.recipe.data import SampleSection

    if like is None:
        table = write_catalogue(SampleSection(rows=rows, seed=seed, image_size=image_size), directory)
    else:
        table = write_catalogue_like(like, rows, seed, directory, image_size=image_size)
    if output is Output.JSON:
        print_json({"table": str(table), "rows": rows, "seed": seed})
    else:
        say(f"{rows:,} rows in {table}")


@app.command()
def fetch(
    recipe: RecipeArgument,
    overrides: SetOption,
    retry: Annotated[
        bool, typer.Option("--retry-failures", help="Retry pictures that have failed permanently.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Fetch a recipe's pictures into the cache; pictures that are already there are not fetched again.

    Examples:
    phi3k data fetch burberry-lora

    phi3k data fetch own.yaml --set data.fetch.concurrency=64 --retry-failures
    """
    dataset = _prepared(read_recipe(recipe, overrides), retry_failures=retry)
    examples = (*dataset.train, *dataset.evaluation)
    pictures = Counter(image.sha256 for example in examples for image in example.images)
    numbers = {
        "train": len(dataset.train),
        "evaluation": len(dataset.evaluation),
        "repeated": dataset.repeated,
        "quarantined": len(dataset.quarantine.rejections),
        "beyond_max_rows": dataset.beyond_max_rows,
        "pictures": pictures.total(),
        "different_pictures": len(pictures),
    }
    reasons, where = dict(dataset.quarantine.counts), str(dataset.quarantine.path)
    if output is Output.JSON:
        more = {"reasons": reasons, "quarantine": where, "digest": dataset.digest, "remarks": dataset.remarks}
        print_json({**numbers, **more})
        return
    _print_counts(numbers, reasons, where)
    for remark in dataset.remarks:
        say(f"Note: {remark}")


@app.command()
def check(
    recipe: RecipeArgument,
    overrides: SetOption,
    output: OutputOption = Output.TEXT,
) -> None:
    """Read a recipe's data as training would: count, reject and split rows, and show one as the model sees it.

    Ends with exit code 65 when more rows are unusable than data.error_budget allows.

    Example: phi3k data check own.yaml
    """
    from phi3k_trainer.data.checking import check_dataset, encoder_at_hand

    chosen = read_recipe(recipe, overrides)
    dataset = _prepared(chosen, retry_failures=False)
    found = check_dataset(
        dataset,
        chosen.model.num_crops,
        encoder_at_hand(chosen, dataset),
        max_tokens=chosen.data.max_tokens,
        eval_fraction=chosen.data.eval_fraction,
        max_new_tokens=chosen.evaluation.max_new_tokens,
    )
    if output is Output.JSON:
        print_json(found.as_dict())
        return
    numbers = {
        "train": found.train,
        "evaluation": found.evaluation,
        "repeated": found.repeated,
        "quarantined": found.quarantined,
        "beyond_max_rows": found.beyond_max_rows,
        "pictures": found.pictures,
        "different_pictures": found.different_pictures,
    }
    _print_counts(numbers, found.reasons, found.quarantine)
    say(_sum(found))
    spreads = {
        "characters of an answer": found.answer_characters,
        "picture width": found.picture_width,
        "picture height": found.picture_height,
        "crops of a row": found.crops,
        "tokens of a row": found.tokens,
    }
    known = [(name, spread) for name, spread in spreads.items() if spread is not None]
    cells = [(name, f"{each.smallest:,}", f"{each.median:,}", f"{each.largest:,}") for name, each in known]
    print_table(("Sizes", "Smallest", "Median", "Largest"), cells)
    for remark in found.remarks:
        say(f"Note: {remark}")
    for number, text in enumerate(found.shown, start=1):
        say(f"\nRow {number} for training, as the model reads it:\n{text}", nl=False)


@app.command()
def report(
    table: Annotated[Path, typer.Argument(help="A table (parquet, csv, jsonl) or the directory of a catalogue.")],
    page: Annotated[Path, typer.Option("--page", help="The HTML file to write.")] = Path("data-report.html"),
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="Directory with a tokenizer.json: count tokens, not words.")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Draw what a data set holds as one HTML page: prices, categories, tokens, picture sizes, samples.

    Example: phi3k data report data/sample --page report.html
    """
    from phi3k_trainer.data.tables.report import write_data_report

    written = write_data_report(table, page, tokenizer)
    if output is Output.JSON:
        print_json({"page": str(written)})
    else:
        say(str(written))


@app.command()
def compare(
    one: Annotated[Path, typer.Argument(help="A table or catalogue.")],
    other: Annotated[Path, typer.Argument(help="Another one.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Measure how close two tables are, column by column: 1 is alike, 0 is different.

    Example: phi3k data compare real.parquet data/like
    """
    from phi3k_trainer.data.tables.compare import HEADINGS, compare_tables, table_rows

    comparison = compare_tables(one, other)
    if output is Output.JSON:
        print_json(comparison.as_dict())
        return
    first, second = comparison.rows
    print_table(HEADINGS, table_rows(comparison), title=f"{one} ({first:,} rows) and {other} ({second:,})")
    say(f"Closeness of the whole: {comparison.closeness:.3f}")


def _prepared(recipe: "Recipe", *, retry_failures: bool) -> "Dataset":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from phi3k_trainer.data.dataset import prepare_dataset
    from phi3k_trainer.progress import Progress as State

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {}

        def show(state: State) -> None:
            if state.stage not in tasks:
                tasks[state.stage] = bar.add_task(state.stage, total=state.total)
            failed = f", {state.failed} failed" if state.failed else ""
            bar.update(
                tasks[state.stage], completed=state.done, total=state.total, description=f"{state.stage}{failed}"
            )

        return prepare_dataset(recipe, None, show, retry_failures=retry_failures)


def _print_counts(numbers: Mapping[str, int], reasons: Mapping[str, int], quarantine: str) -> None:
    rows = [(name.replace("_", " "), f"{count:,}") for name, count in numbers.items()]
    rows += [(f"  {reason}", f"{count:,}") for reason, count in reasons.items()]
    print_table(("Rows", "Count"), rows)
    if reasons:
        say(f"Each row that was set aside, with the reason: {quarantine}")


def _sum(found: "DataCheck") -> str:
    """The rows of the files, as a sum over how they are used."""
    parts = {
        "for training": found.train,
        "for evaluation": found.evaluation,
        "repeated": found.repeated,
        "set aside": found.quarantined,
        "beyond max_rows": found.beyond_max_rows,
    }
    return f"{found.rows:,} rows in the files = " + " + ".join(f"{count:,} {name}" for name, count in parts.items())
