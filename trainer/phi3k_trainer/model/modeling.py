"""Phi-3-Vision, built from transformers' Phi-3 and CLIP layers, under the published names."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, Cache, Phi3Model, Phi3PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings
from transformers.utils.generic import can_return_tuple

from phi3k_trainer.errors import DataError
from phi3k_trainer.model.configuration import Phi3VConfig
from phi3k_trainer.model.generation import PictureGenerationMixin
from phi3k_trainer.model.language import LongRotaryEmbedding
from phi3k_trainer.model.placement import Grid, crop_grids, image_positions
from phi3k_trainer.model.vision import ImageEmbedding
from phi3k_trainer.prompts.encoding import IGNORED

EMBEDDING_ALIAS = "model.vision_embed_tokens.wte.weight"
"""A second name that the published code has for `model.embed_tokens.weight`; some checkpoints store both."""


class Phi3VPreTrainedModel(Phi3PreTrainedModel):  # type: ignore[misc]
    """What both classes below share with transformers."""

    config: Phi3VConfig
    config_class = Phi3VConfig
    _no_split_modules = ("Phi3DecoderLayer", "CLIPEncoderLayer")
    _keys_to_ignore_on_load_unexpected = (re.escape(EMBEDDING_ALIAS),)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, CLIPVisionEmbeddings):
            init.normal_(module.class_embedding, mean=0.0, std=module.embed_dim**-0.5)
            init.copy_(module.position_ids, torch.arange(module.num_positions).expand((1, -1)))
        elif isinstance(module, ImageEmbedding):
            init.zeros_(module.glb_GN)
            init.zeros_(module.sub_GN)


class Phi3VModel(Phi3VPreTrainedModel, Phi3Model):  # type: ignore[misc]
    """Phi-3's decoder with pictures among its input embeddings."""

    runs_vision_always = False
    """Whether a batch without pictures passes through the vision part all the same (see `image_features`)."""

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__(config)
        if config.vision_config._attn_implementation is None:
            config.vision_config._attn_implementation = config._attn_implementation
        self.vision_embed_tokens = ImageEmbedding(config)
        self.rotary_emb = LongRotaryEmbedding(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_sizes: Tensor | None = None,
        image_crops: Tensor | None = None,
        image_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """See `Phi3VForCausalLM.forward`."""
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("give input_ids or inputs_embeds")
            if image_features is None and (pixel_values is not None or image_crops is not None):
                image_features = self.image_features(pixel_values, image_sizes, image_crops)
            inputs_embeds = self.embed(input_ids, image_features, image_sizes)
        if use_cache is None and position_ids is not None and attention_mask is None:
            use_cache = False  # transformers looks for packed samples only where there is no cache
        if position_ids is None and attention_mask is not None and attention_mask.ndim == 2:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -inputs_embeds.shape[1] :]
        return super().forward(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=use_cache,
            **kwargs,
        )

    def embed(
        self, input_ids: Tensor, image_features: Tensor | None = None, image_sizes: Tensor | None = None
    ) -> Tensor:
        """The embeddings `[B, T, hidden_size]` of words and pictures."""
        embeds: Tensor = self.embed_tokens(input_ids.clamp(min=0))
        if image_features is None:
            image_positions(input_ids, [])
            return embeds
        grids = [] if image_sizes is None else crop_grids(image_sizes, self.config.vision_config.image_size)
        positions = image_positions(input_ids, [self.config.image_tokens(h, w) for h, w in grids])
        return embeds.index_put(positions, image_features.to(embeds.dtype))

    def image_features(
        self,
        pixel_values: Tensor | None = None,
        image_sizes: Tensor | None = None,
        image_crops: Tensor | None = None,
    ) -> Tensor | None:
        """The embeddings `[tokens, hidden_size]` of all pictures, one after another.

        Without pictures there is nothing to compute, except where the vision part is trained, so that each of its
        weights gets a gradient (of zero), or where `runs_vision_always` is set: a blank picture passes through it
        then, of which no token is kept.

        Returns:
            None, or no token, where there are no pictures.

        Raises:
            DataError: Pictures and sizes don't match.
        """
        if pixel_values is None and image_crops is None:
            return self._no_features() if self._must_run_vision() else None
        if image_sizes is None:
            raise DataError("pictures come without image_sizes: give the height and width of each in pixels")
        grids = crop_grids(image_sizes, self.config.vision_config.image_size)
        if image_crops is None:
            image_crops = flat_crops(pixel_values, grids)
        features: Tensor = self.vision_embed_tokens(image_crops, grids)
        return features

    def _must_run_vision(self) -> bool:
        if self.runs_vision_always:
            return True
        return torch.is_grad_enabled() and any(p.requires_grad for p in self.vision_embed_tokens.parameters())

    def _no_features(self) -> Tensor:
        """No token `[0, hidden_size]`, computed from every weight of the vision part that is ever used."""
        clip = self.config.vision_config
        blank = self.vision_embed_tokens.glb_GN.new_zeros(2, clip.num_channels, clip.image_size, clip.image_size)
        features: Tensor = self.vision_embed_tokens(blank, [(1, 1)])
        return features[:0]


class Phi3VForCausalLM(Phi3VPreTrainedModel, PictureGenerationMixin):
    """Phi-3-Vision: text and pictures in, text out. Keys, shapes and files are those of the published checkpoints."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012 - transformers reads a dict

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__(config)
        self.model = Phi3VModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """As in transformers, but a key that is missing, left over or of another shape is an error.

        Raises:
            DataError: Listing those keys.
        """
        kwargs["ignore_mismatched_sizes"] = True  # so that they reach the list
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        found = {what: sorted(map(str, info[what])) for what in ("missing_keys", "unexpected_keys", "mismatched_keys")}
        if any(found.values()):
            raise DataError(f"the weights don't belong to the configuration: {found}")
        model.end_generation_at_stop_tokens()
        model.model.vision_embed_tokens.img_processor.vision_model.freeze_unused()
        return (model, info) if output_loading_info else model

    def end_generation_at_stop_tokens(self) -> None:
        """Let `generate` end at the configuration's stop tokens: published generation files name `</s>`."""
        self.generation_config.eos_token_id = self.config.eos_token_id
        self.generation_config.pad_token_id = self.config.pad_token_id

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_sizes: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        image_crops: Tensor | None = None,
        image_features: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Compute logits and, with labels, the loss.

        Pictures come in one of two forms, both with `image_sizes`; those of all rows are concatenated, row after row.

        Args:
            input_ids: int64 `[B, T]`; -i stands for one token of the row's picture i, counted from 1.
            pixel_values: float `[pictures, max_crops + 1, 3, 336, 336]`, the published form: the global view, the
                crops row by row, zero crops at the end.
            image_sizes: int64 `[pictures, 2]`, height and width of the padded picture in pixels.
            attention_mask: `[B, T]`, 0 for padding (on either side). None with position ids that start again from
                0 means packed rows: samples see only themselves.
            position_ids: int64 `[B, T]`; by default each row counts its tokens that aren't padding.
            labels: int64 `[B, T]`, -100 where nothing is learned; the shift by one happens inside.
            past_key_values: The cache of what has been seen.
            inputs_embeds: `[B, T, hidden_size]` in place of ids and pictures.
            use_cache: Whether to return the cache; by default unless rows may be packed.
            logits_to_keep: Compute the logits of only so many last positions; 0 means all.
            image_crops: float `[sum(1 + h * w), 3, 336, 336]`: the same views without the zero crops, the form
                used in training.
            image_features: In place of either form, what `get_image_features` has made of it.
            kwargs: What transformers' attention kernels take.

        Returns:
            `.logits` `[B, T or logits_to_keep, vocab_size]`, `.loss` (mean cross entropy over the labelled tokens
            in float32, NaN if there is none) and `.past_key_values`.

        Raises:
            DataError: Pictures and placeholders don't match.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            image_sizes=image_sizes,
            image_crops=image_crops,
            image_features=image_features,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        hidden: Tensor = outputs.last_hidden_state
        loss = None
        if labels is not None:
            total, count = self._labelled_loss(hidden, labels)
            loss = total / count
        return CausalLMOutputWithPast(
            loss=loss,
            logits=self.lm_head(hidden[:, -logits_to_keep:]),
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def get_image_features(
        self,
        pixel_values: Tensor | None = None,
        image_sizes: Tensor | None = None,
        image_crops: Tensor | None = None,
    ) -> Tensor | None:
        """What `forward` computes of pictures first: see `Phi3VModel.image_features`."""
        features: Tensor | None = self.model.image_features(pixel_values, image_sizes, image_crops)
        return features

    def token_loss(
        self,
        input_ids: Tensor,
        labels: Tensor,
        *,
        image_crops: Tensor | None = None,
        image_sizes: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The loss in the form that training adds up over micro-batches and ranks.

        Logits exist only for the labelled positions. A batch without pictures may pass through the vision part
        too, before the decoder as pictures do and with no effect on the loss: see `Phi3VModel.image_features`.

        Args:
            input_ids: As in `forward`, like the other arguments.
            labels: int64 `[B, T]`.
            image_crops: The views of all pictures, or None.
            image_sizes: Their sizes, or None.
            attention_mask: None for full or packed rows.
            position_ids: Positions of packed rows.

        Returns:
            The sum of the cross entropy over the labelled tokens (float32 scalar) and their number (int64 scalar).
        """
        outputs = self.model(
            input_ids=input_ids,
            image_features=self.model.image_features(image_sizes=image_sizes, image_crops=image_crops),
            image_sizes=image_sizes,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=False,
        )
        return self._labelled_loss(outputs.last_hidden_state, labels)

    def _labelled_loss(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        targets = labels[:, 1:]
        is_labelled = targets != IGNORED
        logits = self.lm_head(hidden[:, :-1][is_labelled]).float()
        total = functional.cross_entropy(logits, targets[is_labelled], reduction="sum")
        return total, is_labelled.sum()


def flat_crops(pixel_values: Tensor | None, grids: Sequence[Grid]) -> Tensor:
    """The published form `[pictures, max_crops + 1, 3, size, size]` without its zero crops."""
    if pixel_values is None or len(pixel_values) != len(grids):
        raise DataError(f"there are {len(grids)} image sizes, and another number of pictures in pixel_values")
    return torch.cat([views[: 1 + h * w] for views, (h, w) in zip(pixel_values, grids, strict=True)])


AutoModelForCausalLM.register(Phi3VConfig, Phi3VForCausalLM)
