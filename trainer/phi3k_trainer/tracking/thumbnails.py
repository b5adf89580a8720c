"""Small copies of the pictures of a run, for people to look at."""

from pathlib import Path

from PIL import Image

from phi3k_trainer.files import read_document
from phi3k_trainer.images.decode import decode_image


def thumbnail(path: Path, pixels: int, *, max_pixels: int) -> Image.Image:
    """The picture as it is displayed, RGB, its longer edge at most `pixels`.

    Raises:
        ImageError: the file is not a picture of at most `max_pixels`.
        OSError: the file can't be read, or is not a regular file.
    """
    image = decode_image(read_document(path), max_pixels=max_pixels)
    image.thumbnail((pixels, pixels))
    return image
