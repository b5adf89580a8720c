"""Phi-3-Vision as a native transformers model: configuration, network, loading and saving."""

from phi3k_trainer.model.configuration import Phi3VConfig
from phi3k_trainer.model.modeling import Phi3VForCausalLM

__all__ = ["Phi3VConfig", "Phi3VForCausalLM"]
