"""Rows as sources yield them, and those that are set aside."""
