"""A model is written tensor by tensor: whole, as transformers writes it, and without a second copy in memory."""

import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from phi3k_trainer.model import Phi3VForCausalLM
from phi3k_trainer.model.loading import load_model
from phi3k_trainer.model.tiny import build_tiny
from phi3k_trainer.recipe.model import TinySection
from phi3k_trainer.trained.writing import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Phi3VForCausalLM:
    section = TinySection(hidden_size=64, num_layers=3, vision_hidden_size=32, vision_num_layers=2, patch_size=28)
    base = build_tiny(section, ["a coat", "a cape"], 0, tmp_path_factory.mktemp("model") / "base")
    return load_model(base, dtype=torch.bfloat16)


class Held(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive after each operation, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu":
                storage = tensor.untyped_storage()
                self._note(tensor, storage.data_ptr(), storage.nbytes())
        return result

    def _note(self, tensor: torch.Tensor, address: int, size: int) -> None:
        if address and address not in self._alive:
            self._alive[address] = size
            self.most = max(self.most, sum(self._alive.values()))
            weakref.finalize(tensor, self._alive.pop, address, None)


def test_writing_holds_no_more_than_one_tensor_besides_the_model(model: Phi3VForCausalLM, tmp_path: Path) -> None:
    sizes = [parameter.numel() * parameter.element_size() for parameter in model.parameters()]
    with Held() as held:
        torch.empty(sum(sizes), dtype=torch.uint8)  # the count sees a copy of the model
        assert held.most >= sum(sizes)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    own |= {buffer.untyped_storage().data_ptr() for buffer in model.buffers()}
    with Held() as held:
        held._alive.update(dict.fromkeys(own, 0))
        write_model(model, tmp_path, lambda: None)
    assert held.most <= max(sizes)
    assert max(sizes) < sum(sizes) / 3


def test_the_files_are_those_of_transformers(model: Phi3VForCausalLM, tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    write_model(model, tmp_path / "ours", lambda: None)
    model.save_pretrained(tmp_path / "theirs")
    assert {path.name for path in (tmp_path / "ours").iterdir()} == {
        path.name for path in (tmp_path / "theirs").iterdir()
    }
    for name in ("config.json", "generation_config.json"):
        assert (tmp_path / "ours" / name).read_text() == (tmp_path / "theirs" / name).read_text()
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("ours", "theirs"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_model_over_the_limit_of_a_file_is_cut_between_tensors(model: Phi3VForCausalLM, tmp_path: Path) -> None:
    digests = write_model(model, tmp_path, lambda: None, shard_bytes=50_000)
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert len(files) > 3
    assert digests.keys() == set(files)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(files)
    assert index["metadata"]["total_size"] == sum(p.numel() * p.element_size() for p in model.parameters())
    tensors = [load_file(tmp_path / file) for file in files]
    assert all(sum(t.nbytes for t in shard.values()) <= 50_000 or len(shard) == 1 for shard in tensors)
    again = load_model(tmp_path, dtype=torch.bfloat16).state_dict()
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


def test_each_tensor_is_a_sign_of_life(model: Phi3VForCausalLM, tmp_path: Path) -> None:
    beats: list[None] = []
    write_model(model, tmp_path, lambda: beats.append(None))
    assert len(beats) == len(load_file(tmp_path / "model.safetensors"))
