"""The trainer of phi3k: everything that fine-tunes Phi-3-Vision, here and on GPUs."""
