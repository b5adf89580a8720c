"""Small copies of the pictures of a run, for people to look at."""

from pathlib import Path

from PIL import Image

from phi3k_trainer.images.decode import decode_image


def thumbnail(path: Path, pixels: int, *, max_pixels: int) -> Image.Image:
    """The picture as it is displayed, RGB, its longer edge at most `pixels`.

    Raises:
        ImageError: the file is not a picture of at most `max_pixels`.
        OSError: the file can't be read.
    """
    image = decode_image(path.read_bytes(), max_pixels=max_pixels)
    image.thumbnail((pixels, pixels))
    return image
