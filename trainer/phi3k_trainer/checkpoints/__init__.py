"""Checkpoints: files that are complete or absent, what is kept, and the tensors in them."""
