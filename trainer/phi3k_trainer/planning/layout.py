"""How a recipe is laid out over devices, and whether it fits: the answers to every `auto` that depends on memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from phi3k_trainer.errors import RecipeError
from phi3k_trainer.images.grid import hd_shape, image_tokens
from phi3k_trainer.planning.flops import Sample, distinct_views
from phi3k_trainer.planning.memory import Memory, largest_batch, peak_memory
from phi3k_trainer.planning.model_shape import ModelShape
from phi3k_trainer.recipe import Recipe

GIB = 2**30

TEXT_TOKENS = 54
"""Text of one sample of the Burberry prompt and answer, template included."""
LABEL_TOKENS = 34
"""Of these, the answer's."""
SQUARE = (1000, 1000)
"""Width and height of the picture that is planned with where nothing else is said; only the ratio matters."""


@dataclass(frozen=True)
class Layout:
    """How one device takes part."""

    parallel: Literal["ddp", "fsdp"]
    """Replicated or sharded; one device alone is `ddp`."""
    activation_checkpointing: bool
    memory: Memory


def expected_sample(
    recipe: Recipe, shape: ModelShape, text_tokens: int = TEXT_TOKENS, picture: tuple[int, int] = SQUARE
) -> Sample:
    """A sample of the recipe: so much text, and pictures of `picture` = (width, height) pixels.

    Raises ImageError when such a picture is too thin.
    """
    rows, columns = hd_shape(*picture, recipe.model.num_crops)
    pictures = len(recipe.data.image_columns)
    return Sample(
        text_tokens=text_tokens,
        image_tokens=pictures * image_tokens(rows, columns, shape.vision.merged_per_side**2),
        views=pictures * distinct_views(rows, columns),
        label_tokens=round(text_tokens * LABEL_TOKENS / TEXT_TOKENS),
    )


def memory_of(
    recipe: Recipe,
    shape: ModelShape,
    *,
    activation_checkpointing: bool,
    shards: int = 1,
    sample: Sample | None = None,
) -> Memory:
    """The peak of one device under the recipe's batches."""
    batch = largest_batch(sample or expected_sample(recipe, shape), recipe.training.tokens_per_batch)
    return peak_memory(
        shape,
        recipe.tuning,
        batch,
        recipe.model.dtype,
        activation_checkpointing=activation_checkpointing,
        shards=shards,
    )


def choose_layout(
    recipe: Recipe, shape: ModelShape, device_memory_bytes: int, world_size: int = 1, sample: Sample | None = None
) -> Layout:
    """The fastest layout that the recipe allows and that fits; where none fits, the smallest.

    Replicas without recomputation come first, then replicas with it, then shards without and with it.
    """
    layouts = tuple(_layouts(recipe, shape, world_size, sample))
    return next((layout for layout in layouts if layout.memory.total <= device_memory_bytes), layouts[-1])


def _layouts(recipe: Recipe, shape: ModelShape, world_size: int, sample: Sample | None) -> Iterator[Layout]:
    training = recipe.training
    parallel: tuple[Literal["ddp", "fsdp"], ...] = ("ddp", "fsdp")
    if world_size == 1 or training.parallel == "ddp" or recipe.tuning.method == "qlora":
        parallel = ("ddp",)
    elif training.parallel == "fsdp":
        parallel = ("fsdp",)
    checkpointing = {"auto": (False, True), "off": (False,), "on": (True,)}[training.activation_checkpointing]
    for how in parallel:
        for again in checkpointing:
            shards = world_size if how == "fsdp" else 1
            memory = memory_of(recipe, shape, activation_checkpointing=again, shards=shards, sample=sample)
            yield Layout(how, again, memory)


def choose_activation_checkpointing(
    recipe: Recipe, shape: ModelShape, device_memory_bytes: int, world_size: int = 1
) -> bool:
    """What `training.activation_checkpointing` comes to on devices of that size."""
    return choose_layout(recipe, shape, device_memory_bytes, world_size).activation_checkpointing


def replica_fits(recipe: Recipe, shape: ModelShape, device_memory_bytes: int) -> bool:
    """Whether one device holds the whole model, with recomputation where the recipe allows it."""
    return choose_layout(recipe, shape, device_memory_bytes).memory.total <= device_memory_bytes


def check_fits(recipe: Recipe, shape: ModelShape, device_memory_bytes: int, world_size: int = 1) -> Layout:
    """The layout to train with.

    Raises RecipeError when none fits; it says how much is missing and which changes of the recipe would fit.
    """
    layout = choose_layout(recipe, shape, device_memory_bytes, world_size)
    if layout.memory.total <= device_memory_bytes:
        return layout
    changes = [
        change
        for change, changed, devices in _smaller(recipe, shape, world_size)
        if choose_layout(changed, shape, device_memory_bytes, devices).memory.total <= device_memory_bytes
    ]
    advice = (
        "Any one of these would fit:\n" + "\n".join(f"  --set {change}" for change in changes)
        if changes
        else "No single change of the recipe makes it fit: take a device with more memory."
    )
    memory = layout.memory
    raise RecipeError(
        f"this recipe needs about {memory.total / GIB:.1f} GiB on each device, which has "
        f"{device_memory_bytes / GIB:.1f}: weights {memory.weights / GIB:.1f}, gradients {memory.gradients / GIB:.1f}, "
        f"optimiser {memory.optimizer / GIB:.1f}, activations {memory.activations / GIB:.1f}, "
        f"logits {memory.logits / GIB:.1f}, "
        f"other {(memory.gathered + memory.runtime) / GIB:.1f} GiB. {advice}"
    )


def _smaller(recipe: Recipe, shape: ModelShape, world_size: int) -> Iterator[tuple[str, Recipe, int]]:
    """Changes that save memory, the least harmful first: the field as `--set` takes it, the recipe, the devices."""

    def changed(section: str, field: str, value: object) -> tuple[str, Recipe, int]:
        part = getattr(recipe, section).model_copy(update={field: value})
        return f"{section}.{field}={value}", recipe.model_copy(update={section: part}), world_size

    if recipe.training.activation_checkpointing == "off":
        yield changed("training", "activation_checkpointing", "on")
    if world_size > 1 and recipe.training.parallel == "ddp":
        yield changed("training", "parallel", "fsdp")
    sample_tokens = expected_sample(recipe, shape).tokens
    tokens = recipe.training.tokens_per_batch // 2
    while tokens >= sample_tokens:
        yield changed("training", "tokens_per_batch", tokens)
        tokens //= 2
    if recipe.model.num_crops > 4:
        yield changed("model", "num_crops", 4)
    for method in {"full": ("lora", "qlora"), "dora": ("lora", "qlora"), "lora": ("qlora",), "qlora": ()}[
        recipe.tuning.method
    ]:
        yield changed("tuning", "method", method)
    if recipe.tuning.vision != "frozen":
        yield changed("tuning", "vision", "frozen")
    for devices in (2, 4, 8, 16):
        if devices > world_size and recipe.training.parallel != "ddp":
            sharded = recipe.training.model_copy(update={"parallel": "fsdp"})
            yield f"cluster.gpus={devices}", recipe.model_copy(update={"training": sharded}), devices
