"""The command line of phi3k: parses, calls, prints."""
