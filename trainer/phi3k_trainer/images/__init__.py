"""Pictures: bytes to RGB (`decode`), RGB to the crops the vision tower sees (`hd`)."""

from phi3k_trainer.images.decode import ImageError, decode_image, image_header
from phi3k_trainer.images.hd import CROP_SIZE, hd_shape, hd_transform, views

__all__ = ["CROP_SIZE", "ImageError", "decode_image", "hd_shape", "hd_transform", "image_header", "views"]
