"""The verbs of `phi3k`, one module each."""
