"""Which side of the split a row is on: a stable hash, never a position."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

Side = Literal["train", "evaluation"]
Name = tuple[Literal["key", "picture"], str]
"""What rows can have in common; keys sort before pictures."""

_HASH_BITS = 64


def split_of(rows: Sequence[tuple[str, Iterable[str]]], eval_fraction: float) -> list[Side]:
    """The side of each row.

    Rows that share a key or a picture, directly or through other rows, form a group. A group is held out when the
    hash of one name, as a number in [0, 1), is below `eval_fraction`: of the key or picture that most of its rows
    have, keys before pictures where as many have them, then the smallest. So the chance doesn't depend on the size
    of the group, the order of the rows doesn't matter, and new rows leave the others where they are unless they
    change what most rows of a group have in common. A row that shares nothing goes by its key.

    Args:
        rows: Key and SHA-256 of the pictures of each row.
        eval_fraction: Share of the groups to hold out.
    """
    names = [_names(key, pictures) for key, pictures in rows]
    counts = Counter(name for row in names for name in row)
    groups = _joined(names)
    leading: dict[int, tuple[int, Name]] = {}
    for group, row in zip(groups, names, strict=True):
        candidate = min((-counts[name], name) for name in row)
        leading[group] = min(candidate, leading.get(group, candidate))
    held_out = {group for group, (_, name) in leading.items() if _position(name) < eval_fraction}
    return ["evaluation" if group in held_out else "train" for group in groups]


def groups_of(rows: Sequence[tuple[str, Iterable[str]]]) -> list[int]:
    """The number of each row's group: the index of the first row that it shares something with, or its own."""
    return _joined([_names(key, pictures) for key, pictures in rows])


def _names(key: str, pictures: Iterable[str]) -> list[Name]:
    return [("key", key), *(("picture", sha256) for sha256 in dict.fromkeys(pictures))]


def _position(name: Name) -> float:
    """A number in [0, 1); its own salt, so that it does not depend on the order of the rows."""
    kind, text = name
    salt = "split" if kind == "key" else "split by picture"
    digest = hashlib.sha256(f"{salt}:{text}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[: _HASH_BITS // 8], "big") / (1 << _HASH_BITS)


def _joined(names: Sequence[Iterable[Name]]) -> list[int]:
    """The smallest index that each row is connected with, by union-find with path halving."""
    parents = list(range(len(names)))

    def root(row: int) -> int:
        while parents[row] != row:
            parents[row] = parents[parents[row]]
            row = parents[row]
        return row

    first: dict[Name, int] = {}
    for row, own in enumerate(names):
        for name in own:
            one, other = root(row), root(first.setdefault(name, row))
            parents[max(one, other)] = min(one, other)
    return [root(row) for row in range(len(names))]
