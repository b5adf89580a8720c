"""The sample catalogue: rendered products to start without real data, and tools that compare it with real data."""
