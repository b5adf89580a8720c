"""Reading and writing the published layout: nothing is left random, nothing is left out, nothing is held twice."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from phi3k_trainer.errors import DataError, MissingInputError, StorageError
from phi3k_trainer.model import Phi3VForCausalLM
from phi3k_trainer.model.loading import load_model, published_keys, save_model
from phi3k_trainer.model.modeling import EMBEDDING_ALIAS
from phi3k_trainer.prompts.tokenizer import save_tokenizer
from phi3k_trainer.prompts.vocabulary import train_tokenizer
from tests.unit.trainer.model.conftest import small_config, small_model

EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture
def saved(model: Phi3VForCausalLM, tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    save_model(model, directory)
    return directory


def read(directory: Path) -> dict[str, torch.Tensor]:
    return {key: value for file in directory.glob("*.safetensors") for key, value in load_file(file).items()}


def rewrite(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = read(directory)
    change(weights)
    save_file(weights, directory / "model.safetensors")


def load(directory: Path) -> Phi3VForCausalLM:
    return load_model(directory, dtype=torch.float32)


def assert_same_weights(model: Phi3VForCausalLM, other: Phi3VForCausalLM) -> None:
    expected = other.state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("shard", ["5GB", "10KB"], ids=["one file", "shards"])
def test_a_saved_model_loads_as_it_was(model: Phi3VForCausalLM, tmp_path: Path, shard: str) -> None:
    save_model(model, tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "10KB")
    assert_same_weights(load(tmp_path), model)


@pytest.mark.parametrize("auto", [Phi3VForCausalLM, AutoModelForCausalLM])
def test_from_pretrained_and_save_pretrained_work_as_in_transformers(
    model: Phi3VForCausalLM, tmp_path: Path, auto: type
) -> None:
    model.save_pretrained(tmp_path)
    loaded = auto.from_pretrained(tmp_path)
    assert type(loaded) is Phi3VForCausalLM
    assert_same_weights(loaded, model)


def test_a_loaded_model_computes_what_the_saved_one_did(model: Phi3VForCausalLM, saved: Path) -> None:
    inputs = {"input_ids": torch.tensor([[1, *[-1] * 13, 5]]), "image_sizes": torch.tensor([[336, 336]])}
    inputs["image_crops"] = torch.ones(2, 3, 336, 336)
    with torch.no_grad():
        assert torch.equal(load(saved)(**inputs).logits, model(**inputs).logits)


def test_files_have_the_published_keys_and_the_embedding_once(model: Phi3VForCausalLM, saved: Path) -> None:
    stored = {key: tuple(value.shape) for key, value in read(saved).items()}
    assert stored == published_keys(model.config)
    assert EMBEDDING_ALIAS not in stored


def test_weights_load_in_the_dtype_that_is_asked_for(saved: Path) -> None:
    loaded = load_model(saved, dtype=torch.bfloat16)
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.bfloat16}
    assert loaded.config.dtype == torch.bfloat16


@pytest.mark.parametrize("loader", [load, Phi3VForCausalLM.from_pretrained])
def test_unused_clip_weights_stay_without_gradient(saved: Path, loader: Callable[[Path], Phi3VForCausalLM]) -> None:
    frozen = [name for name, parameter in loader(saved).named_parameters() if not parameter.requires_grad]
    assert len(frozen) == 18


def test_the_embeddings_second_name_is_accepted(model: Phi3VForCausalLM, saved: Path) -> None:
    rewrite(saved, lambda weights: weights.update({EMBEDDING_ALIAS: weights[EMBEDDING].clone()}))
    assert_same_weights(load(saved), model)
    assert_same_weights(Phi3VForCausalLM.from_pretrained(saved), model)


def test_the_embeddings_second_name_stands_in_for_the_first(model: Phi3VForCausalLM, saved: Path) -> None:
    rewrite(saved, lambda weights: weights.update({EMBEDDING_ALIAS: weights.pop(EMBEDDING)}))
    assert_same_weights(load(saved), model)


@pytest.mark.parametrize("stored_again", [False, True])
def test_a_tied_head_is_stored_once_and_stays_tied(tmp_path: Path, stored_again: bool) -> None:
    tied = small_model(tie_word_embeddings=True)
    save_model(tied, tmp_path)
    assert "lm_head.weight" not in read(tmp_path)
    if stored_again:
        rewrite(tmp_path, lambda weights: weights.update({"lm_head.weight": weights[EMBEDDING].clone()}))
    loaded = load(tmp_path)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert_same_weights(loaded, tied)


def test_saving_again_leaves_no_weights_of_the_save_before(model: Phi3VForCausalLM, tmp_path: Path) -> None:
    save_model(model, tmp_path, max_shard_size="10KB")
    save_model(model, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("model*")) == ["model.safetensors"]
    save_model(small_model(rms_norm_eps=1e-3), tmp_path, max_shard_size="10KB")
    assert not (tmp_path / "model.safetensors").exists()


def spoil(weights: dict[str, torch.Tensor]) -> None:
    del weights["model.layers.0.mlp.down_proj.weight"]
    del weights["model.norm.weight"]
    weights["model.layers.7.mlp.down_proj.weight"] = torch.zeros(2)
    weights["lm_head.weight"] = torch.zeros(3, 5)


@pytest.mark.parametrize("loader", [load, Phi3VForCausalLM.from_pretrained])
def test_missing_foreign_and_misshapen_keys_are_listed_in_one_error(
    saved: Path, loader: Callable[[Path], Phi3VForCausalLM]
) -> None:
    rewrite(saved, spoil)
    with pytest.raises(DataError) as raised:
        loader(saved)
    message = str(raised.value)
    for key in ("model.layers.0.mlp.down_proj", "model.norm", "model.layers.7.mlp.down_proj", "lm_head"):
        assert f"{key}.weight" in message


def test_a_long_list_of_keys_is_cut_short_and_counted(saved: Path) -> None:
    rewrite(saved, lambda weights: [weights.pop(key) for key in list(weights) if ".layers." in key])
    with pytest.raises(DataError, match=r"missing \(60\):[\s\S]*and 52 more"):
        load(saved)


def remove_weights(directory: Path) -> None:
    (directory / "model.safetensors").unlink()


def name_an_absent_shard(directory: Path) -> None:
    remove_weights(directory)
    index = {"weight_map": {EMBEDDING: "model-00001-of-00002.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def cut_the_weights_short(directory: Path) -> None:
    content = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(content[: len(content) // 2])


def remove_the_config(directory: Path) -> None:
    (directory / "config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (remove_weights, "holds no weights"),
        (name_an_absent_shard, "model-00001-of-00002.safetensors"),
        (cut_the_weights_short, "can't be read"),
        (remove_the_config, "config.json"),
    ],
)
def test_a_directory_without_a_whole_model_is_named(
    saved: Path, damage: Callable[[Path], None], complaint: str
) -> None:
    damage(saved)
    with pytest.raises(MissingInputError, match=complaint) as raised:
        load(saved)
    assert str(saved) in str(raised.value)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="does not exist"):
        load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model_type": "llama"}, "'llama'"),
        ({"rope_scaling": {"type": "su", "short_factor": [1.0], "long_factor": [1.0]}}, "short_factor"),
        ({"vision_config": {"patch_size": 48}}, "merged two by two"),
    ],
)
def test_the_config_of_another_or_an_impossible_model_is_refused(
    saved: Path, change: dict[str, object], complaint: str
) -> None:
    content = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(content | change))
    with pytest.raises(DataError, match=complaint):
        load(saved)


def test_generation_ends_where_the_tokenizer_says(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a coat"], 300)
    save_model(small_model(vocab_size=300, eos_token_id=2), tmp_path)
    save_tokenizer(tokenizer, tmp_path)
    ends = [tokenizer.convert_tokens_to_ids(name) for name in ("<|end|>", "<|endoftext|>")]
    assert load(tmp_path).generation_config.eos_token_id == ends


def test_a_generation_file_cannot_bring_back_the_wrong_end_of_text(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 2}))
    loaded = Phi3VForCausalLM.from_pretrained(tmp_path)
    assert loaded.generation_config.eos_token_id == small_config().eos_token_id


def test_a_tokenizer_larger_than_the_vocabulary_belongs_to_another_model(saved: Path) -> None:
    save_tokenizer(train_tokenizer(["a coat"], 300), saved)
    with pytest.raises(DataError, match="belongs to another model"):
        load(saved)


def test_a_tokenizer_without_the_control_tokens_belongs_to_another_model(saved: Path) -> None:
    save_tokenizer(train_tokenizer(["a coat"], 300), saved)
    path = saved / "tokenizer.json"
    path.write_text(path.read_text().replace("<|user|>", "<|human|>"))
    with pytest.raises(DataError, match=r"<\|user\|>.*another model"):
        load(saved)


def test_a_directory_that_cannot_be_written_is_named(model: Phi3VForCausalLM, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        save_model(model, tmp_path / "file")


MEASURE = """
import json, resource, sys, torch
from pathlib import Path
from phi3k_trainer.model.loading import load_config, load_model, published_keys

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

directory = Path(sys.argv[1])
published_keys(load_config(directory))
before = peak()
model = load_model(directory, dtype=torch.bfloat16)
first = peak()
other = load_model(directory, dtype=torch.float32)
copies = [sum(p.numel() * p.element_size() for p in loaded.parameters()) for loaded in (model, other)]
print(json.dumps([(first - before) / copies[0], (peak() - first) / copies[1]]))
"""


def test_loading_peaks_at_one_copy_of_the_weights(tmp_path: Path) -> None:
    changes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 10, "num_attention_heads": 64}
    save_model(Phi3VForCausalLM(small_config(**changes)).to(torch.bfloat16), tmp_path, max_shard_size="40MB")
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], check=True, capture_output=True, text=True, timeout=120
    )
    as_stored, widened = json.loads(measured.stdout)
    assert as_stored < 1.2
    assert widened < 1.2
