"""Tests of phi3k_trainer.remote."""
