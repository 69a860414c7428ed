"""The few exceptions that a user can meet, and the wording they share."""

from collections.abc import Collection
from difflib import get_close_matches


class InputError(Exception):
    """The user's input is wrong: one message, no traceback, exit code 2."""


class Interrupted(BaseException):
    """The work was stopped from outside and can be resumed: exit code 3.

    No `Exception`, as `KeyboardInterrupt` is none: a library that tries one thing after another, as many do
    while they are imported, would swallow it.
    """


def unknown_name(where: str, name: str, known: Collection[str]) -> InputError:
    """The error for `name`, found at `where`, that is none of `known`."""
    near = get_close_matches(str(name), known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return InputError(f"{where}: '{name}' is unknown.{hint} Known: {', '.join(sorted(known))}.")
