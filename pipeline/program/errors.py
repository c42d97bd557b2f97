"""The error that a user can mend."""


class UserError(Exception):
    """A user's mistake. Its text is the sentence they see: what is wrong, where, what to do."""


def clip(text: str) -> str:
    """Make a text from a file fit for a sentence: one line, and not a long one."""
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= 80 else text[:77] + "..."
