"""Where a run's numbers go: metrics.jsonl, the console, Weights & Biases and the HTML report."""
