"""The sample catalogue: rendered products to start without real data, and tools that hold it against real data."""
