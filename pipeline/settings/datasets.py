"""The datasets of `datasets.yaml`: their files, and the mirrors that have them."""

import re
from pathlib import Path
from typing import Annotated
from urllib.request import url2pathname

from pydantic import AfterValidator, Field

from pipeline.program.errors import LONGEST_NAME, UserError, clip, is_name, visible
from pipeline.settings.checked import Section, check, load_plain_yaml, nearest, show

# The key of a file in datasets.yaml, and the name to save it under
SAVED_AS = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = SAVED_AS.values()

# An exact version, and nothing that npm could take for an option, an address or a folder
PACKAGE = r"(?:@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*@\d+\.\d+\.\d+[\w.+-]*"
NPM = re.compile(rf"npm:({PACKAGE})/([^/]+(?:/[^/]+)*)/?", re.ASCII)
WEB = re.compile(r"https?://[^/\s]+(/.*)?")
KINDS = "https://host/folder, file:///folder, the path of a folder, or npm:package@1.2.3/folder"


def mirror_address(text: str, base: Path = Path(), insecure: bool = False) -> str:
    """Return `text` as the address of a web folder or an npm package, or as a folder's path.

    A relative path starts at `base`. `insecure` allows http. A ValueError says what is expected.
    """
    if NPM.fullmatch(text) or (WEB.fullmatch(text) and (insecure or text.startswith("https:"))):
        return text
    local = re.sub("^file://(localhost)?(?=/)", "", text)
    folder = url2pathname(local) if local != text else text
    is_folder = local != text or ("://" not in text and not text.startswith("npm:"))
    if is_folder and folder.strip() and folder == visible(folder):
        return str(base / folder)
    raise ValueError(KINDS)


def _one_line(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"text on one line, of at most {LONGEST_NAME} characters")
    return text


def _once(classes: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(classes)) < len(classes):
        raise ValueError("each name once")
    return classes


Text = Annotated[str, AfterValidator(_one_line)]
Classes = Annotated[tuple[Text, ...], AfterValidator(_once)]
Mirror = Annotated[str, AfterValidator(lambda text, info: mirror_address(text, base=info.context))]
Lower = Annotated[str, AfterValidator(str.lower)]
NAMES = 'a list of 2 to 256 names as text, such as ["0", "1"]'
ADDRESSES = "a list of one address or more, as text"
LENGTH = "the decompressed file's length, a whole number above 0"
SHA256 = "the 64 hexadecimal digits of the decompressed file's SHA-256"


class File(Section):
    """One of a dataset's files. Its length and SHA-256 are those of the decompressed file."""

    name: Text = Field(description="the file's name at the mirrors")
    bytes: int | None = Field(None, ge=1, description=LENGTH)
    sha256: Lower = Field(pattern="^[0-9a-fA-F]{64}$", description=SHA256)


class Files(Section):
    """The four files."""

    train_images: File
    train_labels: File
    test_images: File
    test_labels: File


class Dataset(Section):
    """A dataset. `classes` has the name of each label; `mirrors` are addresses of folders.

    `whole` and `inverted` say how a picture becomes an image: see `mlp.protocol.Preparation`.
    """

    classes: Classes = Field(strict=False, min_length=2, max_length=256, description=NAMES)
    mirrors: tuple[Mirror, ...] = Field(strict=False, min_length=1, description=ADDRESSES)
    files: Files
    whole: bool = Field(False, description="true or false")
    inverted: bool = Field(False, description="true or false")

    def by_name(self) -> dict[str, File]:
        """Return the files by the names they are saved under."""
        return {name: getattr(self.files, key) for key, name in SAVED_AS.items()}


def load_dataset(path: Path, name: str) -> Dataset:
    """Read the dataset `name` from the file `path`. Other datasets are not checked."""
    entries = load_plain_yaml(path)
    if not isinstance(entries, dict):
        raise UserError(f"{path}: found {show(entries)}; expected datasets by name.")
    if name not in entries:
        near, names = nearest(name, entries), ", ".join(map(str, entries))
        hint = f"did you mean {clip(near)}?" if near else f"it has {clip(names)}."
        raise UserError(f"{path} has no dataset {clip(repr(name))}; {hint}", about=name)
    return check(path, Dataset, entries[name], (name,))
