"""Make DIRECTORY (pictures and emoji.jsonl) from the npm package emoji-datasource-twitter.

Usage: emoji_catalogue.py DIRECTORY
The pictures are Twitter's, under CC-BY 4.0; names and categories are Unicode's.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "emoji-datasource-twitter@16.0.0"
# As npm's lock files write it; a registry's own word for it would prove nothing.
INTEGRITY = "sha512-7F+uCuHH+7Qnrc15P5tnbvKkg9E6tlzi4MnT2uW1RlN4pLYTza6cP/dstIfSDMtpjFLWuZewWg8jBbuL2eyELQ=="
PICTURES = "package/img/twitter/64/"


def download(directory: Path) -> Path:
    """Fetch the package's archive with npm and return its path."""
    packed = subprocess.run(
        ["npm", "pack", PACKAGE, "--silent"], cwd=directory, check=True, capture_output=True, text=True
    )
    return directory / packed.stdout.strip().splitlines()[-1]


def check(archive: Path) -> None:
    """Exit unless the archive is the one that INTEGRITY pins."""
    found = f"sha512-{base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()}"
    if found != INTEGRITY:
        sys.exit(f"{PACKAGE} is not the package that this checkout pins: expected {INTEGRITY}, fetched {found}.")


def extract(archive: Path, destination: Path) -> int:
    """Write the pictures and one JSON line for each of them; return how many there are."""
    with tarfile.open(archive) as package:
        index = package.extractfile("package/emoji.json")
        assert index is not None
        emoji = [entry for entry in json.load(index) if entry["has_img_twitter"]]
        wanted = {PICTURES + entry["image"] for entry in emoji}
        pictures = destination / "images"
        pictures.mkdir(parents=True)
        for member in package:
            if member.name in wanted:
                content = package.extractfile(member)
                assert content is not None
                (pictures / Path(member.name).name).write_bytes(content.read())
    with (destination / "emoji.jsonl").open("w", encoding="utf-8") as lines:
        for entry in emoji:
            row = {
                "unified": entry["unified"],
                "image": f"images/{entry['image']}",
                "name": entry["name"].capitalize(),
                "category": entry["category"],
            }
            lines.write(json.dumps(row) + "\n")
    return len(emoji)


def main() -> None:
    """Make the catalogue, once."""
    destination = Path(sys.argv[1])
    if (destination / "emoji.jsonl").exists():
        return
    if shutil.which("npm") is None:
        sys.exit("The emoji pictures come with npm, which is not installed: install it (Debian: apt-get install npm).")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent) as temporary:
        made = Path(temporary) / "catalogue"
        archive = download(Path(temporary))
        check(archive)
        count = extract(archive, made)
        made.rename(destination)
    print(f"{count} pictures in {destination}")


if __name__ == "__main__":
    main()
