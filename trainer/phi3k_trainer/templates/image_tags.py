"""The tags that say where pictures stand, in text from somebody else's data."""

import re

IMAGE_TAG = re.compile(r"<\|(image_\d+)\|>")


def literal(text: str) -> str:
    """`text` with every image tag made harmless: `<|image_1|>` becomes `<image_1>`."""
    return IMAGE_TAG.sub(r"<\1>", text)
