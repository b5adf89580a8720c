"""Several processes as one: who is who, their GPUs, and tensors that they share."""
