"""A small tokenizer of the trained kind, for every test of prompts."""

import pytest
from transformers import PreTrainedTokenizerFast

from phi3k_trainer.prompts.vocabulary import train_tokenizer
from tests.unit.trainer.prompts.catalogue_text import CATALOGUE


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer([*CATALOGUE, "What is shown in this image?", "Кашне 多少钱 €"], 420)
