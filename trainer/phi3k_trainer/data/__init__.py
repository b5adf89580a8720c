"""Rows, their pictures, and the order in which training sees them."""
