"""What pydantic found wrong, in the words of the person who wrote the file."""

import re
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pipeline.config.studies import ITEM_STUDIES

# Keys that take values of two kinds, of which pydantic would complain one by one.
ALTERNATIVES = {
    "processes": "auto or an integer of at least 1",
    "classes": "a number of classes (2 or more) or a list of 2 or more class names",
}
EMPTY_SECTIONS = ("splits", "measures", "claims", *ITEM_STUDIES)  # {} does for them
# Pydantic's words -> those of a person who writes YAML.
WORDS = {"a valid integer": "an integer", "a valid ": "a ", "dictionary": "mapping", "tuple": "list"}


def describe(error: ValidationError, file: str, model: type[BaseModel]) -> str:
    """All that is wrong with `file`, a line each: where, what was found, what would work."""
    lines: dict[tuple, str] = {}
    for issue in error.errors():
        # A union complains once for each of its members, at the same place: the last is the widest.
        lines[tuple(_keys(issue))] = _line(issue, file, model)
    return "\n".join(lines.values())


def _keys(issue: dict[str, Any]) -> list[Any]:
    return [part for part in issue["loc"] if not _is_union_tag(part)]


def _line(issue: dict[str, Any], file: str, model: type[BaseModel]) -> str:
    keys = _keys(issue)
    where = f"{file}, {'.'.join(map(str, keys))}" if keys else file
    kind, found = issue["type"], issue["input"]
    if kind == "extra_forbidden":
        return _unknown_key(file, keys, model)
    if kind == "missing":
        return f"{where}: is missing."
    if kind == "literal_error":
        known = re.findall(r"'([^']+)'", issue["msg"].split("Input should be", 1)[1])
        near = get_close_matches(str(found), known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return f"{where}: {found!r} is unknown.{hint} Known: {', '.join(known)}."
    if kind == "value_error":
        return f"{where}: {issue['ctx']['error']}."
    if found is None and len(keys) == 1 and keys[0] in EMPTY_SECTIONS:
        return f"{where}: nothing stands below it. For none write: {keys[0]}: {{}}"
    if keys and keys[-1] in ALTERNATIVES:
        return f"{where}: should be {ALTERNATIVES[keys[-1]]}, found {found!r}."
    return f"{where}: {_expectation(issue)}, found {found!r} ({type(found).__name__}).{_yaml_hint(found)}"


def _expectation(issue: dict[str, Any]) -> str:
    if "pattern" in issue.get("ctx", {}):
        return "a name takes letters, digits, '_' and '-' only"
    text = issue["msg"].replace("Input should be", "should be", 1)
    for old, new in WORDS.items():
        text = text.replace(old, new)
    return re.sub(r" or instance of \w+", "", text)


def _yaml_hint(found: Any) -> str:
    """YAML 1.1 reads 1e-3 as a string; say how it is written."""
    if isinstance(found, str) and re.fullmatch(r"[+-]?\d+[eE][+-]?\d+", found):
        mantissa, exponent = re.split("[eE]", found)
        return f" Write {mantissa}.0e{exponent if exponent[0] in '+-' else '+' + exponent}."
    return ""


def _unknown_key(file: str, keys: list[Any], model: type[BaseModel]) -> str:
    known = _fields_at(model, keys[:-1])
    near = get_close_matches(str(keys[-1]), known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"{file}, {'.'.join(map(str, keys))}: unknown key.{hint} Known: {', '.join(sorted(known))}."


def _fields_at(model: type[BaseModel], keys: list[Any]) -> list[str]:
    """Names of the fields of the model that lies at `keys` under `model`."""
    for key in keys:
        if key in model.model_fields:
            inner = _models_in(model.model_fields[key].annotation)
            if inner:
                model = inner[0]
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]


def _is_union_tag(part: Any) -> bool:
    """Pydantic puts the member of a union that it tried into the location: no key of the file."""
    return isinstance(part, str) and bool(
        re.match(r"^(constrained-|function-|literal\[|tuple\[|int$|str$|none$|\[key\])", part)
    )
