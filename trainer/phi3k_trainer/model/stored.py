"""The weights of a model directory, as they stand in its safetensors files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from phi3k_trainer.errors import DataError, MissingInputError
from phi3k_trainer.files import read_json
from phi3k_trainer.model.modeling import EMBEDDING_ALIAS

Shape = tuple[int, ...]

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
EMBEDDING = "model.embed_tokens.weight"
_LISTED_KEYS = 8


@dataclass(frozen=True)
class StoredWeight:
    """Where a tensor stands: its file, the key it has there, and its shape."""

    file: Path
    key: str
    shape: Shape


def stored_weights(directory: Path) -> dict[str, StoredWeight]:
    """The tensors of a model directory by published key, from the headers of its safetensors files.

    The second name that some checkpoints have for the word embedding is left out, or taken for the first where that
    is absent.

    Raises:
        MissingInputError: There are no safetensors files, or one of them is absent or damaged.
    """
    stored: dict[str, StoredWeight] = {}
    for file in weight_files(directory):
        try:
            with safe_open(file, framework="pt") as opened:
                for key in opened.keys():  # noqa: SIM118 - not a mapping
                    stored[key] = StoredWeight(file, key, tuple(opened.get_slice(key).get_shape()))
        except (OSError, SafetensorError) as problem:
            raise MissingInputError(f"{file} can't be read as safetensors: {problem}") from problem
    alias = stored.pop(EMBEDDING_ALIAS, None)
    if alias is not None:
        stored.setdefault(EMBEDDING, alias)
    return stored


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a model directory: one, or those that the index names.

    Raises:
        MissingInputError: There are none, or the index names one that isn't there.
    """
    single, index = directory / WEIGHTS, directory / WEIGHTS_INDEX
    if single.is_file():
        return [single]
    if not index.is_file():
        raise MissingInputError(
            f"{directory} holds no weights: neither {WEIGHTS} nor {WEIGHTS_INDEX} is there"
            " (weights in the older .bin format have to be converted to safetensors)"
        )
    files = [directory / name for name in sorted(set(read_json(index).get("weight_map", {}).values()))]
    absent = [file.name for file in files if not file.is_file()]
    if absent or not files:
        raise MissingInputError(f"{index} names files that aren't there: {', '.join(absent) or 'none at all'}")
    return files


def check_keys(stored: Mapping[str, Shape], expected: Mapping[str, Shape], directory: Path) -> None:
    """Compare the keys and shapes of a checkpoint with those of the model.

    Raises:
        DataError: Listing what is missing, left over or of another shape.
    """
    problems = [
        _listed("missing", [key for key in expected if key not in stored]),
        _listed("left over", [key for key in stored if key not in expected]),
        _listed(
            "of another shape",
            [
                f"{key} {list(stored[key])} instead of {list(shape)}"
                for key, shape in expected.items()
                if key in stored and stored[key] != shape
            ],
        ),
    ]
    if any(problems):
        raise DataError(
            f"the weights in {directory} don't belong to its config.json:\n" + "\n".join(filter(None, problems))
        )


def _listed(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f"\n    and {len(keys) - _LISTED_KEYS} more" if len(keys) > _LISTED_KEYS else ""
    return f"  {what} ({len(keys)}):" + "".join(f"\n    {key}" for key in keys[:_LISTED_KEYS]) + more


def read_weights(
    stored: Mapping[str, StoredWeight], expected: Mapping[str, Shape], dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """Read the stored tensors that the model expects, each straight into memory of its own.

    Raises:
        MissingInputError: A file can't be read to its end.
    """
    weights: dict[str, Tensor] = {}
    for file in sorted({weight.file for weight in stored.values()}):
        try:
            # "pread" gives tensors their own memory; a mapped file would be counted besides its copy, and would change
            # under the model if the file were written again.
            with safe_open(file, framework="pt", backend="pread") as opened:
                for name, weight in stored.items():
                    if weight.file == file and name in expected:
                        weights[name] = opened.get_tensor(weight.key).to(device=device, dtype=dtype)
        except (OSError, SafetensorError) as problem:
            raise MissingInputError(f"{file} can't be read: {problem}") from problem
    return weights
