"""Writing a whole model, one tensor at a time."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from phi3k_trainer.checkpoints.tensor_file import FileDigest, TensorFile, TensorLayout, write_tensors
from phi3k_trainer.files import write_json
from phi3k_trainer.model import Phi3VForCausalLM
from phi3k_trainer.model.loading import published_keys
from phi3k_trainer.model.stored import WEIGHTS, WEIGHTS_INDEX

SHARD_BYTES = 5_000_000_000


def write_model(
    model: Phi3VForCausalLM, directory: Path, beat: Callable[[], None], shard_bytes: int = SHARD_BYTES
) -> Mapping[str, FileDigest]:
    """Write config and weights in the published layout, under the published key names.

    Besides the model no more than one of its tensors is held in memory.

    Args:
        model: In the dtype to write, without adapters.
        directory: An existing one.
        beat: Called before each tensor.
        shard_bytes: A file of weights has at most as many bytes, or holds one tensor.

    Returns:
        The digest of each file of weights, by its name.

    Raises:
        OSError: The directory can't be written, or has too little space.
    """
    weights = model.state_dict()
    tensors = {name: weights[name] for name in published_keys(model.config)}
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()}
    if shutil.disk_usage(directory).free < sum(sizes.values()):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    model.config.dtype = str(model.dtype).removeprefix("torch.")
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(directory)
    model.generation_config.save_pretrained(directory)
    shards = _shards(sizes, shard_bytes)
    files = (
        [WEIGHTS] if len(shards) == 1 else [_shard_name(number, len(shards)) for number in range(1, len(shards) + 1)]
    )
    digests = {
        file: write_tensors(directory / file, _tensor_file({name: tensors[name] for name in shard}, beat))
        for file, shard in zip(files, shards, strict=True)
    }
    if len(files) > 1:
        weight_map = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
        write_json(
            directory / WEIGHTS_INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        )
    return digests


def _shards(sizes: Mapping[str, int], shard_bytes: int) -> Sequence[Sequence[str]]:
    """The names in order, cut where a file would have more than `shard_bytes`."""
    shards: list[list[str]] = [[]]
    room = shard_bytes
    for name, size in sizes.items():
        if size > room and shards[-1]:
            shards.append([])
            room = shard_bytes
        shards[-1].append(name)
        room -= size
    return shards


def _shard_name(number: int, count: int) -> str:
    return f"{Path(WEIGHTS).stem}-{number:05d}-of-{count:05d}{Path(WEIGHTS).suffix}"


def _tensor_file(tensors: Mapping[str, Tensor], beat: Callable[[], None]) -> TensorFile:
    def values() -> Iterator[Tensor]:
        for tensor in tensors.values():
            beat()
            yield tensor

    layouts = {name: TensorLayout(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    return TensorFile(layouts, values())
