"""Sending a run: checks before, the objects, and the cache's Jobs."""
