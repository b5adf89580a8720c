"""Programs for working on phi3k."""
