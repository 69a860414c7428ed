"""What can be wrong with a model that a user asks for, and the wording that the builders share."""

from collections.abc import Collection
from difflib import get_close_matches


class ModelError(ValueError):
    """No such model, no such option, or an input size that the model cannot take."""


def unknown(what: str, name: str, known: Collection[str]) -> ModelError:
    """The error for a `name` that is none of `known`; `what` opens the sentence."""
    near = get_close_matches(str(name), known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    listed = f"Known: {', '.join(sorted(known))}." if known else "It takes none."
    return ModelError(f"{what} '{name}' is unknown.{hint} {listed}")


def require_side(model: str, input_shape: tuple[int, int, int], least: int, remedy: str = "") -> None:
    """Refuse images with a side below `least` pixels."""
    _, height, width = input_shape
    if min(height, width) < least:
        hint = f", or {remedy}" if remedy else ""
        raise ModelError(
            f"model '{model}': images of {height}x{width} pixels are too small; "
            f"use {least}x{least} or more (image_size: {least}){hint}."
        )


def require_divisor(model: str, divisor: int, most: int = 32) -> None:
    """Refuse a width divisor that leaves the narrowest layers with less than two channels."""
    if divisor > most:
        raise ModelError(f"model '{model}': option 'width_divisor' should be 1 to {most}, found {divisor}.")


def refuse_divisor(model: str, divisor: int, side: int) -> None:
    """Refuse a width divisor for images of `side` pixels and more, whose network is torchvision's own."""
    if divisor != 1:
        raise ModelError(
            f"model '{model}': option 'width_divisor' is for images below {side} pixels; from there on the "
            f"network is torchvision's. Leave it out, or use a smaller image_size."
        )
