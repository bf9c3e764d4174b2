"""Small files of text that a command names: read whole, and never more than one may hold. Knows not what they say."""

from __future__ import annotations

from pathlib import Path

from icure_sync.errors import InvalidEntity


def read_text(path: Path, size_most: int, attempted: str, right_file: str) -> str:
    """The text of a file of at most `size_most` bytes.

    `attempted`, `right_file`: what an error says of it, as in "read the logins in FILE", "a file with one line".
    Raises InvalidEntity for a file that cannot be read, is too long or is not UTF-8 text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(size_most + 1)
        if len(content) > size_most:
            raise InvalidEntity(attempted, "it is too long", f"name {right_file}")
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        wrong = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidEntity(attempted, str(wrong), "name a readable text file") from error
