"""Bytes between here and the claims: what a run left is listed and fetched through a short pod beside the claim."""
