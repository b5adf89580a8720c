"""Generation with pictures: they are embedded once, and copied with their rows."""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, GenerationMixin

from phi3k_trainer.model.configuration import Phi3VConfig
from phi3k_trainer.model.placement import crop_grids, pictures_in_rows


class PictureGenerationMixin(GenerationMixin):  # type: ignore[misc]
    """What `generate` of transformers has to know about pictures and about LongRoPE."""

    config: Phi3VConfig

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        past_key_values: Cache | None = None,
        attention_mask: Tensor | None = None,
        is_first_iteration: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The inputs of one step of `generate`: pictures take part while the cache is filled.

        At the first position past the original window the cache starts over, since its keys were turned with the
        short factors.
        """
        pictures = {key: kwargs.pop(key, None) for key in ("image_features", "image_sizes")}
        starts_over = past_key_values is not None and self._leaves_original_window(
            input_ids, past_key_values, attention_mask
        )
        if starts_over:
            past_key_values = None
            kwargs["next_sequence_length"] = None
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(
            input_ids,
            past_key_values=past_key_values,
            attention_mask=attention_mask,
            is_first_iteration=is_first_iteration,
            **kwargs,
        )
        if is_first_iteration or starts_over or not kwargs.get("use_cache", True):
            inputs |= {key: value for key, value in pictures.items() if value is not None}
        return inputs

    def _leaves_original_window(self, input_ids: Tensor, cache: Cache, attention_mask: Tensor | None) -> bool:
        """Whether the next step is the first past the original window."""
        cached = int(cache.get_seq_length())
        length = input_ids.shape[1]
        seen = length if attention_mask is None or attention_mask.ndim != 2 else int(attention_mask.sum(-1).max())
        window: int = self.config.original_max_position_embeddings
        return cached > 0 and seen - (length - cached) <= window < seen

    def _maybe_prepare_encoder_kwargs_for_generation(
        self,
        inputs_tensor: Tensor,  # noqa: ARG002 - transformers passes it
        model_kwargs: dict[str, Any],
        *_: Any,
    ) -> dict[str, Any]:
        """Put features in the place of pictures, before the first step.

        The steps then run the decoder alone. Where its weights are sharded, processes whose rows have pictures, have
        none, or start over gather the same weights in the same order.
        """
        pictures = {key: model_kwargs.pop(key, None) for key in ("pixel_values", "image_sizes", "image_crops")}
        features = self.get_image_features(**pictures)
        if pictures["image_sizes"] is None:
            return model_kwargs
        return {**model_kwargs, "image_features": features, "image_sizes": pictures["image_sizes"]}

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        """Copy each row `expand_size` times (for beams), and its pictures after one another with each copy."""
        features, sizes = kwargs.pop("image_features", None), kwargs.pop("image_sizes", None)
        pictures: dict[str, Tensor] = {}
        if features is not None:
            pictures = {"image_features": features, "image_sizes": sizes}
        if input_ids is not None and pictures and expand_size > 1:
            in_rows = pictures_in_rows(input_ids).tolist()
            grids = crop_grids(sizes, self.config.vision_config.image_size)
            tokens = [sum(self.config.image_tokens(h, w) for h, w in row) for row in _split(grids, in_rows)]
            pictures = {
                "image_features": _copied(features, tokens, expand_size),
                "image_sizes": _copied(sizes, in_rows, expand_size),
            }
        ids, expanded = super()._expand_inputs_for_generation(expand_size, is_encoder_decoder, input_ids, **kwargs)
        return ids, {**expanded, **pictures}


def _split(items: list[tuple[int, int]], lengths: list[int]) -> list[list[tuple[int, int]]]:
    rest = iter(items)
    return [[next(rest) for _ in range(length)] for length in lengths]


def _copied(values: Tensor, lengths: list[int], times: int) -> Tensor:
    """Cut `values` into stretches and put `times` copies of each in its place."""
    return torch.cat([piece for piece in torch.split(values, lengths) for _ in range(times)])
