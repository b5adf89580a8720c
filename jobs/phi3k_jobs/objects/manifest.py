"""What a Kubernetes object is here: plain data, so that what a dry run shows is exactly what is sent."""

from typing import Any

Manifest = dict[str, Any]
