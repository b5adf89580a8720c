"""The API server: connection, requests, refusals, and what the cluster offers."""
