"""The ways to say one run, compared: comparison.py lines|checks|faults [ROW].

`lines` counts what is written. The others measure on the cluster of KUBECONFIG, which they change: use one of your
own (`python -m tools.cluster up --name compare`, with the image of tools/cluster/stand_in.py), never a team's. None
of that one's volumes is used twice: `faults` needs 13 of them.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from comparison_checks import check_rows
from comparison_faults import fault_rows
from comparison_peers import FILES, PEERS, Peer
from tools.cluster.cluster import existing


def lines_written(peer: Peer) -> int:
    """Lines of the files a user writes, without empty lines, comments and the module's docstring."""
    texts = [line.strip() for name in peer.written for line in (FILES / name).read_text().splitlines()]
    return sum(bool(text) and not text.startswith(("#", '"""')) for text in texts)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["lines", "checks", "faults"])
    parser.add_argument("row", nargs="?", default="", help="measure only the rows with these words in their title")
    arguments = parser.parse_args()
    titles = [peer.title for peer in PEERS]
    if arguments.what == "lines":
        print(table(["", *titles], [["lines written", *(str(lines_written(peer)) for peer in PEERS)]]))
        return
    cluster = existing(Path(os.environ["KUBECONFIG"]))
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.what == "checks":
            print(table(["mistake", *titles], list(check_rows(cluster, Path(scratch), arguments.row))))
        else:
            print(table(["fault", *titles[:-1]], list(fault_rows(cluster, Path(scratch), arguments.row))))


if __name__ == "__main__":
    main()
