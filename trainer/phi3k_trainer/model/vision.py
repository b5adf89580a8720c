"""From crops to image tokens: the CLIP tower, the HD merge and the projector."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.models.clip.modeling_clip import CLIPEncoder, CLIPVisionEmbeddings

from phi3k_trainer.model.configuration import Phi3VConfig
from phi3k_trainer.model.placement import Grid


class ClipTower(nn.Module):
    """CLIP's vision transformer up to its last layer but one, without the class token.

    Phi-3-Vision uses `hidden_states[-2]`, so the last layer and `post_layernorm` never reach the output: they
    are kept because the published checkpoints store them, are never run, and never require a gradient.
    """

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__()
        clip = config.vision_config
        self.embeddings = CLIPVisionEmbeddings(clip)
        self.pre_layrnorm = nn.LayerNorm(clip.hidden_size, eps=clip.layer_norm_eps)  # sic, in the checkpoints
        self.encoder = CLIPEncoder(clip)
        self.post_layernorm = nn.LayerNorm(clip.hidden_size, eps=clip.layer_norm_eps)
        self.freeze_unused()

    def unused_modules(self) -> tuple[nn.Module, ...]:
        """The modules whose weights are stored but never used; training must not ask them for gradients."""
        return self.encoder.layers[-1], self.post_layernorm

    def freeze_unused(self) -> None:
        """Ask for no gradient where none can come."""
        for module in self.unused_modules():
            module.requires_grad_(requires_grad=False)

    def restore_positions(self, device: torch.device) -> None:
        """Put back the one buffer that is stored nowhere, after the tower was built on the meta device."""
        self.embeddings.position_ids = torch.arange(self.embeddings.num_positions, device=device).expand(1, -1)

    def forward(self, crops: Tensor) -> Tensor:
        """Patch features `[N, patches, hidden]` of normalised crops `[N, 3, size, size]`."""
        hidden: Tensor = self.pre_layrnorm(self.embeddings(crops))
        for layer in self.encoder.layers[:-1]:
            hidden = layer(hidden, None)
        return hidden[:, 1:]


class ImageProcessor(nn.Module):
    """Holds the tower under the name that it has in the published checkpoints."""

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__()
        self.vision_model = ClipTower(config)

    def forward(self, crops: Tensor) -> Tensor:
        """The tower's patch features."""
        features: Tensor = self.vision_model(crops)
        return features


class ImageEmbedding(nn.Module):
    """Turns the views of pictures into embeddings that stand among those of the words."""

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__()
        self.patches_per_side = config.patches_per_side
        self.merged_per_side = config.merged_per_side
        self.merged_size = config.merged_size
        self.img_processor = ImageProcessor(config)
        self.glb_GN = nn.Parameter(torch.zeros(1, 1, config.merged_size))
        self.sub_GN = nn.Parameter(torch.zeros(1, 1, 1, config.merged_size))
        self.img_projection = nn.Sequential(
            nn.Linear(config.merged_size, config.hidden_size),
            nn.GELU(),
            nn.Linear(config.hidden_size, config.hidden_size),
        )

    def forward(self, crops: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Embed pictures.

        Args:
            crops: float `[sum(1 + h * w), 3, size, size]`: for each picture its global view, then its crops row
                by row.
            grids: `(h, w)` of each picture, in crops.

        Returns:
            `[sum(image_tokens(h, w)), hidden_size]`: picture after picture its crops, a separator, its global
            view (`hd_transform_order: sub_glb`).
        """
        views, source = distinct_views(crops, grids)
        merged = self._merge(self.img_processor(crops if views is None else crops[views]))
        if source is not None:
            merged = merged[source]
        pieces: list[Tensor] = []
        start = 0
        for h, w in grids:
            end = start + 1 + h * w
            pieces += (self._rows(merged[start + 1 : end], h, w), self.glb_GN[0], self._rows(merged[start:][:1], 1, 1))
            start = end
        embedded: Tensor = self.img_projection(torch.cat(pieces))
        return embedded

    def _merge(self, features: Tensor) -> Tensor:
        """Patches `[N, p * p, C]` to 2 x 2 squares of them, `[N, p / 2, p / 2, 4 C]`."""
        m = self.merged_per_side
        squares = features.reshape(-1, m, 2, m, 2, features.shape[-1]).permute(0, 1, 3, 2, 4, 5)
        return squares.reshape(-1, m, m, self.merged_size)

    def _rows(self, crops: Tensor, h: int, w: int) -> Tensor:
        """Lay `[h * w, m, m, D]` out as one picture and end each of its rows with the separator: `[tokens, D]`."""
        m = self.merged_per_side
        picture = crops.reshape(h, w, m, m, -1).permute(0, 2, 1, 3, 4).reshape(h * m, w * m, -1)
        separators = self.sub_GN[0].expand(h * m, 1, -1)
        return torch.cat((picture, separators), dim=1).flatten(0, 1)


def distinct_views(crops: Tensor, grids: Sequence[Grid]) -> tuple[Tensor | None, Tensor | None]:
    """Which views the tower has to see.

    A picture of a single crop has a global view that is the same picture again, so the tower can see it once.

    Args:
        crops: `[views, 3, size, size]`.
        grids: `(h, w)` of each picture, in crops.

    Returns:
        Indexes into `crops` of the views to run, and for each view its place among those; `(None, None)` where
        all are to be run.
    """
    repeated: list[int] = []
    start = 0
    for h, w in grids:
        if (h, w) == (1, 1):
            repeated.append(start + 1)
        start += 1 + h * w
    if not repeated:
        return None, None
    second = torch.tensor(repeated, device=crops.device)
    if not torch.equal(crops[second], crops[second - 1]):
        return None, None
    is_distinct = torch.ones(len(crops), dtype=torch.int64, device=crops.device)
    is_distinct[second] = 0
    return is_distinct.nonzero().flatten(), is_distinct.cumsum(0) - 1
