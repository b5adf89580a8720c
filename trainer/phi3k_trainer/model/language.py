"""Rotary positions of the language model. Everything else in it is transformers' Phi-3."""

import math

import torch
from torch import Tensor, nn

from phi3k_trainer.model.configuration import Phi3VConfig


class LongRotaryEmbedding(nn.Module):
    """LongRoPE (https://arxiv.org/abs/2402.13753) as published for Phi-3-Vision.

    Each frequency is divided by its short factor while every position lies inside the original window, by its
    long factor for the whole batch as soon as one does not. cos and sin are always scaled by
    sqrt(1 + ln(maximum / original) / ln(original)).

    The frequencies are plain attributes in float32 on each device, not buffers: `model.to(torch.bfloat16)`
    would round a buffer, and loading through the meta device would lose it.
    """

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__()
        rope = config.rope_parameters
        self.head_dim: int = config.hidden_size // config.num_attention_heads
        self.theta: float = rope["rope_theta"]
        ones = [1.0] * (self.head_dim // 2)
        self.short_factor: list[float] = rope.get("short_factor") or ones
        self.long_factor: list[float] = rope.get("long_factor") or self.short_factor
        self.original_window: int = config.original_max_position_embeddings
        stretch = config.max_position_embeddings / self.original_window
        is_long = rope["rope_type"] == "longrope" and stretch > 1
        self.scale = math.sqrt(1 + math.log(stretch) / math.log(self.original_window)) if is_long else 1.0
        self._frequencies: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def _short_and_long(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._frequencies:
            exponent = torch.arange(0, self.head_dim, 2, dtype=torch.int64, device=device).float() / self.head_dim
            short, long = (
                1.0 / (torch.tensor(factor, dtype=torch.float32, device=device) * self.theta**exponent)
                for factor in (self.short_factor, self.long_factor)
            )
            self._frequencies[device] = (short, long)
        return self._frequencies[device]

    @torch.no_grad()
    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """The cos and sin of each position.

        Args:
            x: Any tensor of the dtype to answer in.
            position_ids: int64 `[B, T]`. Packed rows count each sample from 0, so the longest position is that
                of the longest sample, never the length of the row.

        Returns:
            cos and sin, each `[B, T, head_dim]` in the dtype of `x`.
        """
        short, long = self._short_and_long(position_ids.device)
        frequencies = torch.where(position_ids.max() >= self.original_window, long, short)
        angles = position_ids[..., None].float() * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return (angles.cos() * self.scale).to(x.dtype), (angles.sin() * self.scale).to(x.dtype)
