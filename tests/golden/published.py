"""Where the published configurations and tokenizers are: Microsoft's files, used if present, never committed."""

import os
from pathlib import Path


def published_directories() -> list[Path]:
    """The model directories under `published` of `$PHI3K_SHARED`, else of `shared` beside the checkout."""
    beside = Path(__file__).resolve().parents[2].parent / "shared"
    shared = Path(os.environ.get("PHI3K_SHARED", beside))
    return sorted(path.parent for path in shared.glob("published/*/tokenizer.json"))
