"""Options of a builder, checked against its own signature before anything is built."""

import inspect
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from models.errors import ModelError, unknown

GIVEN = ("input_shape", "num_classes")  # parameters that every builder gets from the data
UNIONS = (Union, UnionType)  # `bool | Literal["auto"]` is the first, `bool | int` the second


def check_names(builder: Callable, options: Mapping[str, Any], where: str) -> None:
    """Refuse options that `builder` has no parameter for, and a missing one without a default."""
    parameters = inspect.signature(builder).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    known = [name for name in parameters if name not in GIVEN]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name in options:
            if name not in known:
                raise unknown(f"{where}: option", name, known)
    for name in known:
        parameter = parameters[name]
        variadic = parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        if parameter.default is inspect.Parameter.empty and not variadic and name not in options:
            raise ModelError(f"{where}: option '{name}' is missing.")


def check_values(builder: Callable, options: Mapping[str, Any], where: str) -> None:
    """Refuse values that do not fit the annotations of a builder of ours: counts, lists of them, choices."""
    hints = get_type_hints(builder)
    for name, value in options.items():
        if not _fits(value, hints[name]):
            raise ModelError(f"{where}: option '{name}' should be {_words(hints[name])}, found {value!r}.")


def _fits(value: Any, hint: Any) -> bool:
    if hint is int:  # every number among our options is a count
        return isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if hint is bool:
        return isinstance(value, bool)
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in UNIONS:
        return any(_fits(value, member) for member in get_args(hint))
    return isinstance(value, (list, tuple)) and all(_fits(item, int) for item in value)


def _words(hint: Any) -> str:
    if hint is int:
        return "a whole number of 1 or more"
    if hint is bool:
        return "true or false"
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if get_origin(hint) in UNIONS:
        return " or ".join(_words(member) for member in get_args(hint))
    return "a list of whole numbers of 1 or more"
