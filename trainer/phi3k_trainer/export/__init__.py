"""Export: what a run has learned as a model in the published layout, or as adapters in PEFT's format."""

from phi3k_trainer.export.export import Export, export_adapters, export_run

__all__ = ["Export", "export_adapters", "export_run"]
