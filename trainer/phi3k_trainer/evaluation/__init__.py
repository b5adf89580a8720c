"""Evaluation by generation: answers, their scores by field, the blind control and the baselines."""
