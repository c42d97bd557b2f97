"""Names that come from files: of classes, and of files at a mirror."""

LONGEST = 100  # characters


def is_name(text: str) -> bool:
    """Return whether `text` can be shown in a table: on one line, not blank, of at most `LONGEST` characters."""
    return bool(text.strip()) and text.isprintable() and len(text) <= LONGEST
