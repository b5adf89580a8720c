"""A finished run: opening it, asking it, exporting it and proving the export."""
