"""Pictures: bytes to RGB (`decode`), RGB to the crops the vision tower sees (`hd`), their number (`grid`)."""
