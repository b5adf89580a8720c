"""The cache that runs share: fill it before a GPU is held, list it, remove from it. Runs as a process in the cluster.

python -m phi3k_trainer.data.cache warm RECIPE [--set KEY=VALUE]
python -m phi3k_trainer.data.cache list DIRECTORY
python -m phi3k_trainer.data.cache remove DIRECTORY NAME
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from phi3k_trainer.errors import MissingInputError, Phi3kError, StorageError
from phi3k_trainer.recipe import Recipe, load_recipe
from phi3k_trainer.terminal import escaped_message

HUB = "huggingface/hub"
SECONDS_BETWEEN_LINES = 5.0
# Hub folders are models--owner--name; of ours the pictures are one store, data sets a folder each.
PLACES = {"model": (HUB, "models--*"), "dataset": (HUB, "datasets--*"), "data": ("phi3k", "*")}


@dataclass(frozen=True)
class Entry:
    """What one removal frees."""

    name: str
    size_bytes: int
    changed: float
    """Time of the last change in it, in seconds since 1970."""


def entries(directory: Path) -> list[Entry]:
    """Return what lies in a cache directory, the largest first."""
    found = [_entry(f"{kind}/{_shown_name(path)}", path) for kind, path in _paths(directory)]
    return sorted(found, key=lambda entry: entry.size_bytes, reverse=True)


def remove(directory: Path, name: str) -> Entry:
    """Remove one entry and return what it was.

    Raises:
        MissingInputError: there is none of that name.
        StorageError: it can't be removed.
    """
    for kind, path in _paths(directory):
        if f"{kind}/{_shown_name(path)}" == name:
            entry = _entry(name, path)
            try:
                shutil.rmtree(path)
            except OSError as error:
                raise StorageError(f"can't remove {name}: {error}") from error
            return entry
    there = ", ".join(entry.name for entry in entries(directory)) or "nothing"
    raise MissingInputError(f"the cache has no {name}; it has: {there}")


def _paths(directory: Path) -> Iterator[tuple[str, Path]]:
    for kind, (folder, pattern) in PLACES.items():
        for path in sorted((directory / folder).glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                yield kind, path


def _shown_name(path: Path) -> str:
    return path.name.partition("--")[2].replace("--", "/") or path.name


def _entry(name: str, path: Path) -> Entry:
    files = [file.lstat() for file in path.rglob("*") if not file.is_dir()]
    return Entry(name, sum(file.st_size for file in files), max((file.st_mtime for file in files), default=0.0))


def warm(recipe: Recipe) -> dict[str, object]:
    """Fetch and verify the data and the model of a recipe; return what is there now.

    Raises:
        Phi3kError: something is not available, or not what it should be.
    """
    from phi3k_trainer.data.dataset import prepare_dataset
    from phi3k_trainer.progress import Progress

    last = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f"{progress.stage}: {progress.done}/{progress.total or '?'}, {progress.failed} failed", flush=True)

    dataset = prepare_dataset(recipe, None, tell)
    found: dict[str, object] = {
        "train": len(dataset.train),
        "evaluation": len(dataset.evaluation),
        "quarantined": len(dataset.quarantine.rejections),
        "digest": dataset.digest,
    }
    return {**found, "model": None if recipe.model.base == "tiny" else str(_verified_model(recipe))}


def _verified_model(recipe: Recipe) -> Path:
    """Fetch the model and compare its files with its configuration, without loading a weight."""
    from phi3k_trainer.model.loading import load_config, published_keys, resolve_base
    from phi3k_trainer.model.stored import check_keys, stored_weights
    from phi3k_trainer.prompts.tokenizer import SpecialTokens, load_tokenizer

    print(f"model: {recipe.model.base}", flush=True)
    directory = resolve_base(recipe.model.base, recipe.model.revision, recipe.data.cache)
    shapes = {name: weight.shape for name, weight in stored_weights(directory).items()}
    check_keys(shapes, published_keys(load_config(directory)), directory)
    SpecialTokens.from_tokenizer(load_tokenizer(directory))
    return directory


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the last line printed is the result as JSON. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="phi3k-cache", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    warming = verbs.add_parser("warm")
    warming.add_argument("recipe")
    warming.add_argument("--set", action="append", default=[], dest="overrides")
    listing = verbs.add_parser("list")
    listing.add_argument("directory", type=Path)
    removing = verbs.add_parser("remove")
    removing.add_argument("directory", type=Path)
    removing.add_argument("name")
    options = parser.parse_args(arguments)
    try:
        if options.verb == "warm":
            result: object = warm(load_recipe(options.recipe, options.overrides))
        elif options.verb == "list":
            result = [asdict(entry) for entry in entries(options.directory)]
        else:
            result = asdict(remove(options.directory, options.name))
    except Phi3kError as error:
        print(f"error: {escaped_message(str(error))}", file=sys.stderr, flush=True)
        return error.exit_code
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
