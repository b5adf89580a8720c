"""Watching a run: facts, diagnosis, logs, waiting."""
