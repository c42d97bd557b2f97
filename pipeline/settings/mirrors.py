"""The addresses of mirrors: folders that have a dataset's files."""

import re
from pathlib import Path
from urllib.request import url2pathname

# An exact version, and nothing that npm could take for an option, an address or a folder
NPM = re.compile(r"npm:((?:@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*@\d+\.\d+\.\d+[\w.+-]*)/([^/]+(?:/[^/]+)*)/?", re.ASCII)
WEB = re.compile(r"https?://[^/\s]+(/.*)?")


def mirror_address(text: str, base: Path = Path(), insecure: bool = False) -> str:
    """Return `text` as an address: `npm:package@1.2.3/folder`, a web address, or the path of a folder.

    A relative path starts at the folder `base`. `insecure` allows `http://`.

    Raises:
        ValueError: `text` is not an address. The text of the error says what is expected.
    """
    local = re.sub("^file://(localhost)?(?=/)", "", text)
    if local != text:
        return url2pathname(local)
    if NPM.fullmatch(text) or (WEB.fullmatch(text) and (insecure or text.startswith("https:"))):
        return text
    if text.strip() and text.isprintable() and "://" not in text and not text.startswith("npm:"):
        return str(base / text)
    raise ValueError("https://host/folder, file:///folder, the path of a folder, or npm:package@1.2.3/folder")
