"""Tests against a real S3-compatible server."""
