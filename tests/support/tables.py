"""Tables in Markdown."""


def cells(text: str) -> list[list[str]]:
    """Return the cells of each row of a text's tables, without spaces and stars around them."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip(" *") for cell in line] for line in lines]
