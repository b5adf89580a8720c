"""Answers in batches: greedy decoding with the key-value cache."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedTokenizerFast

from phi3k_trainer.data.dataset import StoredImage
from phi3k_trainer.data.encoding import EncodedPrompt, Encoder
from phi3k_trainer.distributed.processes import Processes
from phi3k_trainer.images.hd import views
from phi3k_trainer.model import Phi3VForCausalLM
from phi3k_trainer.prompts.conversation import Turn
from phi3k_trainer.prompts.encoding import SpecialTokens


class StoppedError(Exception):
    """The run was asked to stop while answers were generated; what was generated so far is dropped."""


@dataclass(frozen=True)
class Question:
    """What a model is asked."""

    key: str
    """Names the row in messages."""
    turns: tuple[Turn, ...]
    """The conversation up to the answer."""
    images: tuple[StoredImage, ...]


@dataclass(frozen=True)
class Generator:
    """A model with all that is needed to ask it. All processes of a run ask together and share the questions."""

    model: Phi3VForCausalLM
    encoder: Encoder
    tokenizer: PreTrainedTokenizerFast
    max_new_tokens: int
    batch_size: int
    processes: Processes
    precision: Callable[[], AbstractContextManager[Any]]
    """The context of a forward pass, such as autocast."""
    should_stop: Callable[[], bool] = lambda: False
    """Looked at before every batch."""

    @torch.no_grad()
    def answers(self, questions: Sequence[Question]) -> list[str]:
        """Answer greedily, each answer ending before its `<|end|>` or `<|endoftext|>` or after `max_new_tokens`.

        Returns:
            The answers in the order of the questions, on every process.

        Raises:
            StoppedError: `should_stop` said so on any process.
        """
        was_training = self.model.training
        self.model.eval()
        try:
            own = self._own_answers(questions)
        finally:
            self.model.train(was_training)
        everyone = {index: answer for part in self.processes.gather(own) for index, answer in part.items()}
        return [everyone[index] for index in range(len(questions))]

    def _own_answers(self, questions: Sequence[Question]) -> dict[int, str]:
        """This process's share of the answers, by the question's index."""
        batches = self._batches([self.encoder.prompt_length(one.turns, one.images) for one in questions])
        world_size = self.processes.world_size
        answers: dict[int, str] = {}
        for turn in range(math.ceil(len(batches) / world_size)):
            if self.processes.sum([self.should_stop()])[0] > 0:
                raise StoppedError
            # Sharded weights are gathered by all processes together: one without work repeats a batch.
            batch = batches[min(turn * world_size + self.processes.rank, len(batches) - 1)]
            answers.update(zip(batch, self._generate([questions[index] for index in batch]), strict=True))
        return answers

    def _batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Indices of prompts, longest first so that memory runs out at once or never, little of a batch being padding.

        The long-context rotary embedding holds for all rows of a batch as soon as one of them needs it. So prompts that
        are in need of it, those that will never be, and those that come to be while they are answered don't share a
        batch; of the last only those of one length do, which need it at the same token.
        """
        window: int = self.model.config.original_max_position_embeddings

        def switch(length: int) -> int:
            """New tokens that the model still sees with the short-context embedding; -1 if not even the prompt."""
            return min(max(window - length, -1), self.max_new_tokens - 1)

        descending = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
        batches: list[list[int]] = []
        for _, together in groupby(descending, lambda index: switch(lengths[index])):
            side = list(together)
            batches += [side[start : start + self.batch_size] for start in range(0, len(side), self.batch_size)]
        return batches

    def _generate(self, questions: Sequence[Question]) -> Iterator[str]:
        special = SpecialTokens.from_tokenizer(self.tokenizer)
        prompts = [self.encoder.encode_prompt(one.turns, one.images, one.key) for one in questions]
        inputs = self._collate(prompts, special.pad)
        with self.precision():
            generated: Tensor = self.model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=self.max_new_tokens,
                eos_token_id=list(special.stop),
                pad_token_id=special.pad,
                synced_gpus=any(isinstance(parameter, DTensor) for parameter in self.model.parameters()),
            )
        for row in generated[:, inputs["input_ids"].shape[1] :].tolist():
            end = next((place for place, token in enumerate(row) if token in special.stop), len(row))
            yield self.tokenizer.decode(row[:end], skip_special_tokens=True)

    def _collate(self, prompts: Sequence[EncodedPrompt], pad: int) -> dict[str, Tensor]:
        """The arguments of the model for prompts padded on the left, on its device."""
        device = self.processes.device
        length = max(len(prompt.input_ids) for prompt in prompts)
        input_ids = np.full((len(prompts), length), pad, np.int64)
        attention_mask = np.zeros((len(prompts), length), np.int64)
        for row, prompt in enumerate(prompts):
            input_ids[row, length - len(prompt.input_ids) :] = prompt.input_ids
            attention_mask[row, length - len(prompt.input_ids) :] = 1
        inputs = {
            "input_ids": torch.from_numpy(input_ids).to(device),
            "attention_mask": torch.from_numpy(attention_mask).to(device),
        }
        images = [torch.from_numpy(image).to(device) for prompt in prompts for image in prompt.images]
        if images:
            tower = self.model.model.vision_embed_tokens.img_processor
            dtype = next(parameter.dtype for parameter in tower.parameters() if parameter.is_floating_point())
            inputs["image_crops"] = torch.cat([views(image).to(dtype) for image in images])
            inputs["image_sizes"] = torch.tensor([image.shape[:2] for image in images], device=device)
        return inputs
