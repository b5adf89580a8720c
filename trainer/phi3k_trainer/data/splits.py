"""Which side of the split a row is on: a stable hash, never a position."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal

Side = Literal["train", "evaluation"]

_HASH_BITS = 64


def split_of(rows: Sequence[tuple[str, Iterable[str]]], eval_fraction: float) -> list[Side]:
    """The side of each row.

    Rows that share a key or a picture, directly or through other rows, form a group; a group is held out
    when the smallest hash of its keys, as a number in [0, 1), is below `eval_fraction`. So the order of the rows
    says nothing, and new rows leave the others where they are, unless they join groups.

    Args:
        rows: Key and SHA-256 of the pictures of each row.
        eval_fraction: Share of the groups to hold out.
    """
    groups = _groups(rows)
    smallest: dict[int, float] = {}
    for group, (key, _) in zip(groups, rows, strict=True):
        smallest[group] = min(smallest.get(group, 1.0), _position(key))
    return ["evaluation" if smallest[group] < eval_fraction else "train" for group in groups]


def _position(key: str) -> float:
    """A number in [0, 1) from the key; its own salt, so that it has nothing to do with the order of the rows."""
    digest = hashlib.sha256(f"split:{key}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[: _HASH_BITS // 8], "big") / (1 << _HASH_BITS)


def _groups(rows: Sequence[tuple[str, Iterable[str]]]) -> list[int]:
    """The group of each row, by union-find with path halving."""
    parents = list(range(len(rows)))

    def root(row: int) -> int:
        while parents[row] != row:
            parents[row] = parents[parents[row]]
            row = parents[row]
        return row

    first: dict[tuple[str, str], int] = {}
    for row, (key, pictures) in enumerate(rows):
        for name in (("key", key), *(("picture", sha256) for sha256 in pictures)):
            one, other = root(row), root(first.setdefault(name, row))
            parents[max(one, other)] = min(one, other)
    return [root(row) for row in range(len(rows))]
