"""An export names the remote code that other programs need, or says why they can't load it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from phi3k_trainer.trained.adapter_config import short_adapter_config
from phi3k_trainer.trained.published_layout import RemoteCode, complete_layout, find_remote_code

HUB_ID = "team/phi3v"
# One class of a model of its own in the place of the published one: transformers runs it as it runs the published.
CODE = """
from transformers import PretrainedConfig

class Phi3VConfig(PretrainedConfig):
    model_type = "phi3_v"
"""
REFERENCES = {
    "AutoConfig": "configuration_phi3_v.Phi3VConfig",
    "AutoModelForCausalLM": "modeling_phi3_v.Phi3VForCausalLM",
    "AutoImageProcessor": "processing_phi3_v.Phi3VImageProcessor",
    "AutoProcessor": "processing_phi3_v.Phi3VProcessor",
}
MODULES = ("configuration_phi3_v.py", "modeling_phi3_v.py", "processing_phi3_v.py")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The JSON files of a model as published: pointers to code that isn't beside them."""
    base = tmp_path / "base"
    base.mkdir()
    model = {name: REFERENCES[name] for name in ("AutoConfig", "AutoModelForCausalLM")}
    processor = {name: REFERENCES[name] for name in ("AutoImageProcessor", "AutoProcessor")}
    write(base / "config.json", {"auto_map": model})
    write(base / "preprocessor_config.json", {"auto_map": processor})
    # Spaces and order as no writer of ours makes them.
    (base / "tokenizer.json").write_bytes(b'{ "model":{}, "version" : "1.0" }')
    (base / "tokenizer_config.json").write_bytes(b'{"b":1,\r\n"a":2}')
    return base


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """What stands in an export's directory before the layout is completed."""
    directory = tmp_path / "export"
    directory.mkdir()
    write(directory / "config.json", {"model_type": "phi3_v", "eos_token_id": [7, 8]})
    write(directory / "preprocessor_config.json", {"num_crops": 4, "processor_class": "Phi3VProcessor"})
    return directory


def write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content))


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_code_on_the_hub_is_named_with_its_repository(base: Path) -> None:
    code = find_remote_code(base, HUB_ID, is_published_tower=True)
    assert code == RemoteCode({name: f"{HUB_ID}--{place}" for name, place in REFERENCES.items()})


def test_an_export_of_an_export_names_the_first_repository(base: Path, exported: Path) -> None:
    first = find_remote_code(base, HUB_ID, is_published_tower=True)
    complete_layout(exported, base, first)
    assert find_remote_code(exported, None, is_published_tower=True) == first


def test_code_beside_the_base_is_copied_into_the_export(base: Path, exported: Path) -> None:
    for name in MODULES:
        (base / name).write_text(f"# {name}")
    code = find_remote_code(base, None, is_published_tower=True)
    complete_layout(exported, base, code)
    assert code.references == REFERENCES
    assert {path.name for path in exported.glob("*.py")} == set(MODULES)


def test_a_base_without_the_code_it_names_is_reported(base: Path) -> None:
    code = find_remote_code(base, None, is_published_tower=True)
    assert not code.references
    assert "configuration_phi3_v.py, modeling_phi3_v.py, processing_phi3_v.py" in code.absent


def test_a_base_that_names_no_code_is_reported(base: Path) -> None:
    write(base / "config.json", {})
    code = find_remote_code(base, HUB_ID, is_published_tower=True)
    assert not code.references
    assert "AutoConfig, AutoModelForCausalLM" in code.absent


def test_a_tower_of_our_own_gets_no_code_that_would_ignore_it(base: Path) -> None:
    code = find_remote_code(base, HUB_ID, is_published_tower=False)
    assert not code.references
    assert "vision tower" in code.absent


def test_all_three_files_name_the_classes_that_are_looked_up_in_them(base: Path, exported: Path) -> None:
    complete_layout(exported, base, find_remote_code(base, HUB_ID, is_published_tower=True))
    contents = {path.name: read(path) for path in exported.glob("*config.json")}
    named = {name: sorted(content["auto_map"]) for name, content in contents.items() if "auto_map" in content}
    assert named == {
        "config.json": ["AutoConfig", "AutoModelForCausalLM"],
        "preprocessor_config.json": ["AutoImageProcessor", "AutoProcessor"],
        "processor_config.json": ["AutoProcessor"],
    }


def test_the_tokenizer_files_are_those_of_the_base_byte_for_byte(base: Path, exported: Path) -> None:
    complete_layout(exported, base, RemoteCode({}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (exported / name).read_bytes() == (base / name).read_bytes()


def test_settings_of_the_run_stay_in_the_preprocessor_s_file(base: Path, exported: Path) -> None:
    complete_layout(exported, base, find_remote_code(base, HUB_ID, is_published_tower=True))
    assert read(exported / "preprocessor_config.json")["num_crops"] == 4


def test_config_json_has_one_end_token(base: Path, exported: Path) -> None:
    complete_layout(exported, base, RemoteCode({}))
    assert read(exported / "config.json")["eos_token_id"] == 7


@pytest.mark.parametrize("from_hub", [True, False], ids=["hub", "directory"])
def test_transformers_alone_reads_the_configuration(base: Path, exported: Path, tmp_path: Path, from_hub: bool) -> None:
    commit = "0" * 40
    repository = tmp_path / "home" / "hub" / f"models--{HUB_ID.replace('/', '--')}"
    place = repository / "snapshots" / commit if from_hub else base
    place.mkdir(parents=True, exist_ok=True)
    for name in MODULES:
        (place / name).write_text(CODE)
    if from_hub:
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
    complete_layout(exported, base, find_remote_code(base, HUB_ID if from_hub else None, is_published_tower=True))
    load = "import sys; from transformers import AutoConfig; "
    load += "print(type(AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=True)).__name__)"
    environment = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
    loaded = subprocess.run(
        [sys.executable, "-c", load, str(exported)], env=environment, capture_output=True, text=True, check=False
    )
    assert loaded.stdout == "Phi3VConfig\n", loaded.stderr


def test_an_adapter_configuration_always_says_what_peft_s_auto_classes_ask_for() -> None:
    assert short_adapter_config({"peft_type": "LORA", "task_type": None})["task_type"] == "CAUSAL_LM"


def test_an_adapter_configuration_has_no_key_that_only_today_s_peft_knows() -> None:
    from peft import LoraConfig

    trained = LoraConfig(r=4, target_modules="a|b", task_type="CAUSAL_LM", use_dora=True).to_dict()
    short = short_adapter_config(trained)
    assert "peft_version" not in short
    assert LoraConfig(**{k: v for k, v in short.items() if k != "peft_type"}).to_dict() == trained
