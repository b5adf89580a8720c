"""The first process of a pod, without torch: attempts, outcomes, log, health and metrics."""
