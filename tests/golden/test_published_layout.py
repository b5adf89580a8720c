"""An export of a published base has the published files that other programs read."""

from pathlib import Path

import pytest

from phi3k_trainer.files import read_json
from phi3k_trainer.model import Phi3VConfig
from phi3k_trainer.model.processor import Phi3VProcessor
from phi3k_trainer.prompts.tokenizer import save_tokenizer
from phi3k_trainer.trained.published_layout import complete_layout, find_remote_code
from tests.golden.published import published_directories

HUB_ID = "microsoft/published"


@pytest.fixture(params=published_directories(), ids=lambda directory: directory.name)
def base(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_the_references_are_the_published_ones_with_the_repository(base: Path, tmp_path: Path) -> None:
    config = Phi3VConfig(**read_json(base / "config.json"))
    config.save_pretrained(tmp_path)
    Phi3VProcessor.from_pretrained(base, num_crops=2).image_processor.save_pretrained(tmp_path)
    code = find_remote_code(base, HUB_ID, is_published_tower=config.has_published_tower)
    complete_layout(tmp_path, base, code)
    for name in ("config.json", "preprocessor_config.json"):
        published = read_json(base / name)["auto_map"]
        assert read_json(tmp_path / name)["auto_map"] == {key: f"{HUB_ID}--{place}" for key, place in published.items()}
    assert read_json(tmp_path / "config.json")["eos_token_id"] == 32007
    assert (tmp_path / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()


def test_a_tokenizer_written_anew_lists_the_published_special_tokens(base: Path, tmp_path: Path) -> None:
    save_tokenizer(Phi3VProcessor.from_pretrained(base).tokenizer, tmp_path)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        listed = read_json(tmp_path / name)["additional_special_tokens"]
        assert set(listed) == set(read_json(base / name)["additional_special_tokens"])
