"""Text for a terminal: it can't move the cursor, imitate a line of ours or be endless, wherever it came from.

Keys of recipes, names of columns, answers of servers and lines of logs are written by others.
"""

import re

MOST_CHARACTERS = 20_000
# Control characters of ASCII and Latin-1 but tab and line feed, line separators, and marks that turn the direction.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# A message of several lines has its further lines indented.
_FORGED_LINE = re.compile(r"\n(?!  )")


def escaped(text: str) -> str:
    """Return the text with its control characters written out (`\\x1b`); tabs and line feeds stay."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def escaped_line(text: str) -> str:
    """Return the text on one line: line feeds are written out too."""
    return escaped(text).replace("\n", "\\n")


def escaped_json(document: str) -> str:
    """Return the JSON document with the same characters in JSON's own notation (`\\u009b`)."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def escaped_message(text: str) -> str:
    """Return a message of at most MOST_CHARACTERS whose further lines are indented: none of them looks like ours."""
    whole = escaped(_FORGED_LINE.sub(r"\\n", text.rstrip("\n")))
    if len(whole) <= MOST_CHARACTERS:
        return whole
    return f"{whole[:MOST_CHARACTERS]} ... ({len(whole) - MOST_CHARACTERS} more characters)"
