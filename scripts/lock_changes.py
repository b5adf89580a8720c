"""Print what differs between the locks of two directories: lock_changes.py BEFORE AFTER."""

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PIN = re.compile(r"^([\w.-]+)==([\w.!+-]+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    """Each package of a lock with its version, or its versions where they depend on the Python or the system."""
    versions = defaultdict(list)
    for name, version in PIN.findall(lock):
        versions[name].append(version)
    return {name: " and ".join(sorted(found)) for name, found in versions.items()}


def changes(before: str, after: str) -> Iterator[str]:
    """One line for each package that was added, removed or changed, in the order of their names."""
    old, new = pins(before), pins(after)
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield f"{name} {new[name]} added"
        elif name not in new:
            yield f"{name} {old[name]} removed"
        elif old[name] != new[name]:
            yield f"{name} {old[name]} -> {new[name]}"


def main() -> None:
    """Compare lock by lock; one that was not there before has everything added."""
    before, after = map(Path, sys.argv[1:])
    for lock in sorted(after.glob("requirements*.lock")):
        old = before / lock.name
        found = list(changes(old.read_text() if old.exists() else "", lock.read_text()))
        print(f"{lock.name}: {len(found) or 'nothing'} changed")
        for line in found:
            print(f"  {line}")


if __name__ == "__main__":
    main()
