"""Files that lie in object stores: their addresses, reading them, and copies of them on this disk."""
