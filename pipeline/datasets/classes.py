"""The classes of a source: those known before it is read, and whether those asked for are among them."""

from collections.abc import Sequence

from pipeline.config import Source
from pipeline.errors import InputError, unknown_name

_NAMES = {
    "digits": tuple("0123456789"),
    "mnist": (
        *("0 - zero", "1 - one", "2 - two", "3 - three", "4 - four"),
        *("5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine"),
    ),
    "fashionmnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
}
_NUMBERS = {"cifar100": 100, "imagenette": 10}  # their names stand in their files


def known_names(source: Source) -> tuple[str, ...] | None:
    """All class names of a source that always has the same; None for others."""
    if source.kind == "glyphs":
        return glyph_names(source.glyphs.classes)
    return _NAMES.get(source.kind)


def known_number(source: Source) -> int | None:
    """How many classes a source has, used or not; None for a folder of images, which has to be read."""
    names = known_names(source)
    return len(names) if names else _NUMBERS.get(source.kind)


def glyph_names(number: int) -> tuple[str, ...]:
    """The class names of the procedural glyphs."""
    return tuple(f"glyph{label:02d}" for label in range(number))


def check_classes(
    where: str, asked: int | Sequence[str] | None, number: int | None, names: Sequence[str] | None
) -> None:
    """Raise `InputError`, its message opening with `where`, if a source can't give the classes `asked` for.

    `number` and `names` of the source's classes may be None: unknown as yet.
    """
    if asked is None:
        return
    if not isinstance(asked, int):
        _check_names(where, asked, names)
        asked = len(set(asked))
    if number is not None and asked > number:
        raise InputError(f"{where}: {asked} classes are asked for, the source has {number}.")


def _check_names(where: str, asked: Sequence[str], names: Sequence[str] | None) -> None:
    for name in asked:
        if names is not None and name not in names:
            raise unknown_name(where, name, names)
    if len(set(asked)) < 2:
        raise InputError(
            f"{where}: at least 2 different classes are needed, found {', '.join(asked) or 'none'}."
        )
