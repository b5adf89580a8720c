"""The blind control: every row gets another row's pictures.

A model that reads its answers off the pictures then answers for the wrong ones; a model that has only learned what
answers look like scores as before.
"""

import random
from collections import defaultdict
from collections.abc import Hashable, Sequence


def shuffled_pictures(pictures: Sequence[Sequence[Hashable]], seed: int) -> list[int]:
    """Choose for every row another row whose pictures it gets.

    Rows swap only with rows of as many pictures, and none gets its own or equal pictures as long as no picture is in
    more than half of the rows. A permutation: every row's pictures are used once. Rows without pictures keep theirs.

    Args:
        pictures: For each row what its pictures are known by, such as their SHA-256.
        seed: The same seed gives the same choice.

    Returns:
        For row i the index of the row whose pictures it gets.
    """
    choice = list(range(len(pictures)))
    by_count: dict[int, list[int]] = defaultdict(list)
    for row, shown in enumerate(pictures):
        by_count[len(shown)].append(row)
    generator = random.Random(seed)
    for count, rows in sorted(by_count.items()):
        if count:
            for row, other in _rotated([(tuple(pictures[row]), row) for row in rows], generator):
                choice[row] = other
    return choice


def _rotated(rows: Sequence[tuple[Hashable, int]], generator: random.Random) -> list[tuple[int, int]]:
    """Line rows up in random order with equal pictures side by side, and move on by the length of the longest run.

    No row can then meet pictures like its own, unless its run is longer than all others together.
    """
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for shown, row in rows:
        groups[shown].append(row)
    runs = list(groups.values())
    generator.shuffle(runs)
    line = [row for run in runs for row in run]
    distance = max(len(run) for run in runs)
    return [(row, line[(place + distance) % len(line)]) for place, row in enumerate(line)]
