"""Make DIRECTORY (pictures and emoji.jsonl) from the npm package emoji-datasource-twitter.

Usage: emoji_catalogue.py DIRECTORY
The pictures are Twitter's, under CC-BY 4.0; names and categories are Unicode's.
"""

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "emoji-datasource-twitter@16.0.0"
PICTURES = "package/img/twitter/64/"


def download(directory: Path) -> Path:
    """Fetch the package's archive with npm and return its path."""
    packed = subprocess.run(
        ["npm", "pack", PACKAGE, "--silent"], cwd=directory, check=True, capture_output=True, text=True
    )
    return directory / packed.stdout.strip().splitlines()[-1]


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
        count = extract(download(Path(temporary)), made)
        made.rename(destination)
    print(f"{count} pictures in {destination}")


if __name__ == "__main__":
    main()
