"""The tensors of a checkpoint: trained weights and the optimiser's moments, by name, whole, whatever the sharding."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from phi3k_trainer.checkpoints.tensor_file import TensorFile, TensorLayout
from phi3k_trainer.distributed.tensors import give_up_whole_weights, like, whole
from phi3k_trainer.errors import MissingInputError
from phi3k_trainer.tuning.adapters import stored_name
from phi3k_trainer.tuning.parameter_groups import is_adapter

ADAPTER_FILE = "adapter_model.safetensors"
WEIGHTS_FILE = "trained_model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters by their names in a checkpoint."""
    return {stored_name(name): parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def tensor_files(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, TensorFile]:
    """The safetensors files of a checkpoint: adapters in PEFT's format, other trained weights under published names.

    Where weights are sharded, every process has to take every value.
    """
    give_up_whole_weights(model)
    parameters = trained_parameters(model)
    adapters = {name: p for name, p in parameters.items() if is_adapter(name)}
    others = {name: p for name, p in parameters.items() if not is_adapter(name)}
    moments = _moments(parameters, optimizer)
    files: dict[str, Mapping[str, Tensor]] = {ADAPTER_FILE: adapters, WEIGHTS_FILE: others, OPTIMIZER_FILE: moments}
    return {name: _tensor_file(tensors) for name, tensors in files.items() if tensors}


def load_trained_weights(model: nn.Module, checkpoint: Path) -> None:
    """Copy a checkpoint's weights into the trained parameters of `model`. Raises MissingInputError if they differ."""
    parameters = trained_parameters(model)
    stored = {**_stored(checkpoint / ADAPTER_FILE), **_stored(checkpoint / WEIGHTS_FILE)}
    _check_names(set(stored), set(parameters), checkpoint)
    with torch.no_grad():
        for name, parameter in parameters.items():
            value = _read(stored[name], name)
            if value.shape != parameter.shape:
                raise MissingInputError(
                    f"{stored[name]}: {name} has shape {tuple(value.shape)}, the recipe's model needs "
                    f"{tuple(parameter.shape)}"
                )
            parameter.copy_(like(value, parameter))


def load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Path) -> None:
    """Set AdamW's moments to a checkpoint's. Raises MissingInputError if they belong to other parameters."""
    parameters = trained_parameters(model)
    stored = _stored(checkpoint / OPTIMIZER_FILE)
    named = {name.rpartition(".")[0] for name in stored}
    _check_names(named, named & set(parameters), checkpoint)
    for name in named:
        parameter = parameters[name]
        step, *moments = (_read(stored[f"{name}.{moment}"], f"{name}.{moment}") for moment in MOMENTS)
        state = {moment: like(value, parameter) for moment, value in zip(MOMENTS[1:], moments, strict=True)}
        optimizer.state[parameter] = {"step": step.to(parameter.device), **state}


def _moments(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{moment}": optimizer.state[parameter][moment]
        for name, parameter in parameters.items()
        if parameter in optimizer.state
        for moment in MOMENTS
    }


def _tensor_file(tensors: Mapping[str, Tensor]) -> TensorFile:
    def values() -> Iterator[Tensor]:
        for tensor in tensors.values():
            yield whole(tensor.detach())

    layouts = {name: TensorLayout(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    return TensorFile(layouts, values())


def _stored(path: Path) -> dict[str, Path]:
    """The file of each tensor in `path`, which need not exist."""
    if not path.exists():
        return {}
    with safe_open(path, framework="pt") as file:
        return dict.fromkeys(file.keys(), path)


def _read(path: Path, name: str) -> Tensor:
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
    return tensor


def _check_names(stored: set[str], expected: set[str], checkpoint: Path) -> None:
    if stored == expected:
        return
    complaints = [
        f"{what}: {', '.join(sorted(names)[:5])}{' ...' if len(names) > 5 else ''}"
        for what, names in (("missing", expected - stored), ("left over", stored - expected))
        if names
    ]
    raise MissingInputError(f"{checkpoint} belongs to another model or tuning. Weights {'; '.join(complaints)}")
