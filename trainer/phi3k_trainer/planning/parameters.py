"""How many weights a model has, part by part, and how many of them learn."""

from dataclasses import dataclass

from phi3k_trainer.planning.model_shape import ModelShape, VisionShape
from phi3k_trainer.recipe.model import Trained, TuningSection


@dataclass(frozen=True)
class Parts:
    """One number for each part of the model: weights, FLOPs or bytes."""

    embedding: int = 0
    language: int = 0
    """The decoder's layers and its last norm."""
    head: int = 0
    vision: int = 0
    """The CLIP tower."""
    projector: int = 0
    """Both linear layers and the separators."""

    @property
    def total(self) -> int:
        """The whole model."""
        return self.embedding + self.language + self.head + self.vision + self.projector


def language_linears(shape: ModelShape) -> dict[str, tuple[int, int]]:
    """Input and output size of each linear layer of one decoder layer; none has a bias."""
    attention = shape.num_heads * shape.head_dim
    return {
        "qkv_proj": (shape.hidden_size, attention + 2 * shape.key_value_size),
        "o_proj": (attention, shape.hidden_size),
        "gate_up_proj": (shape.hidden_size, 2 * shape.intermediate_size),
        "down_proj": (shape.intermediate_size, shape.hidden_size),
    }


def targeted_linears(shape: ModelShape, tuning: TuningSection) -> dict[str, tuple[int, int]]:
    """Those of `language_linears` that get an adapter."""
    targets: tuple[str, ...] = tuning.targets
    return {name: size for name, size in language_linears(shape).items() if name in targets}


def vision_linears(vision: VisionShape) -> dict[str, tuple[int, int]]:
    """Input and output size of each linear layer of one CLIP layer; each has a bias."""
    square = (vision.hidden_size, vision.hidden_size)
    return {
        "q_proj": square,
        "k_proj": square,
        "v_proj": square,
        "out_proj": square,
        "fc1": (vision.hidden_size, vision.intermediate_size),
        "fc2": (vision.intermediate_size, vision.hidden_size),
    }


def projector_linears(shape: ModelShape) -> dict[str, tuple[int, int]]:
    """Input and output size of the projector's linear layers; each has a bias."""
    return {"0": (4 * shape.vision.hidden_size, shape.hidden_size), "2": (shape.hidden_size, shape.hidden_size)}


def weights(linears: dict[str, tuple[int, int]]) -> int:
    """Weights of linear layers, without biases."""
    return sum(inputs * outputs for inputs, outputs in linears.values())


def _weights_and_biases(linears: dict[str, tuple[int, int]]) -> int:
    return weights(linears) + sum(outputs for _, outputs in linears.values())


def _clip_layer(vision: VisionShape) -> int:
    norms = 2 * 2 * vision.hidden_size
    return _weights_and_biases(vision_linears(vision)) + norms


def parameters(shape: ModelShape) -> Parts:
    """The weights that a checkpoint stores: 4,146,621,440 in all for the published models."""
    vision, hidden = shape.vision, shape.hidden_size
    embeddings = vision.hidden_size * (1 + 3 * vision.patch_size**2 + vision.tokens)
    outer_norms = 2 * 2 * vision.hidden_size
    separators = 2 * 4 * vision.hidden_size
    return Parts(
        embedding=shape.vocabulary_size * hidden,
        language=shape.num_layers * (weights(language_linears(shape)) + 2 * hidden) + hidden,
        head=shape.vocabulary_size * hidden,
        vision=embeddings + outer_norms + vision.num_layers * _clip_layer(vision),
        projector=_weights_and_biases(projector_linears(shape)) + separators,
    )


def adapter_parameters(linears: dict[str, tuple[int, int]], rank: int, *, magnitudes: bool) -> int:
    """Weights of LoRA adapters (Hu et al. 2021: rank x inputs and outputs x rank a layer); DoRA adds a magnitude
    for each output (Liu et al. 2024)."""
    lora = sum(rank * (inputs + outputs) for inputs, outputs in linears.values())
    return lora + (sum(outputs for _, outputs in linears.values()) if magnitudes else 0)


def trainable_parameters(shape: ModelShape, tuning: TuningSection) -> Parts:
    """The weights that learn. CLIP's last layer and `post_layernorm` never do: nothing reads what they compute."""
    full = parameters(shape)
    dora = tuning.method == "dora"
    run_layers = shape.vision.num_layers - 1
    vision_full = full.vision - _clip_layer(shape.vision) - 2 * shape.vision.hidden_size
    vision_lora = run_layers * adapter_parameters(vision_linears(shape.vision), tuning.rank, magnitudes=dora)
    projector_lora = adapter_parameters(projector_linears(shape), tuning.rank, magnitudes=dora)
    side = {
        "vision": _choose(tuning.vision, full=vision_full, lora=vision_lora),
        "projector": _choose(tuning.projector, full=full.projector, lora=projector_lora),
    }
    if tuning.method == "full":
        return Parts(embedding=full.embedding, language=full.language, head=full.head, **side)
    adapters = adapter_parameters(targeted_linears(shape, tuning), tuning.rank, magnitudes=dora)
    return Parts(language=shape.num_layers * adapters, **side)


def _choose(trained: Trained, *, full: int, lora: int) -> int:
    return {"frozen": 0, "lora": lora, "full": full}[trained]
