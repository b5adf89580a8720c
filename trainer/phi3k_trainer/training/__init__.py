"""The training loop, parameter groups, adapters, parallelism, checkpoints and preemption."""
