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
SEVERAL_KINDS = ("learning",)  # pydantic puts the kind of such a section's item behind its name
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
    loc = issue["loc"]
    if loc[:1] and loc[0] in SEVERAL_KINDS:
        loc = loc[:2] + loc[3:]
    return [part for part in loc if not _is_union_tag(part)]


def _line(issue: dict[str, Any], file: str, model: type[BaseModel]) -> str:
    keys = _keys(issue)
    where = f"{file}, {'.'.join(map(str, keys))}" if keys else file
    kind, found = issue["type"], issue["input"]
    if kind == "extra_forbidden":
        return _unknown_key(where, keys[-1], _fields_at(model, issue["loc"]))
    if kind == "union_tag_invalid":
        return _unknown_value(f"{where}.kind", issue["ctx"]["tag"], issue["ctx"]["expected_tags"])
    if kind == "union_tag_not_found":
        return f"{where}.kind: is missing."
    if kind == "missing":
        return f"{where}: is missing."
    if kind == "literal_error":
        return _unknown_value(where, found, issue["msg"].split("Input should be", 1)[1])
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


def _unknown_value(where: str, found: Any, choices: str) -> str:
    """`choices`: in quotes, as pydantic lists them."""
    known = re.findall(r"'([^']+)'", choices)
    return f"{where}: {found!r} is unknown.{_nearest(found, known)} Known: {', '.join(known)}."


def _unknown_key(where: str, key: Any, known: list[str]) -> str:
    return f"{where}: unknown key.{_nearest(key, known)} Known: {', '.join(sorted(known))}."


def _nearest(found: Any, known: list[str]) -> str:
    near = get_close_matches(str(found), known, n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def _fields_at(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """Names of the fields of the model under `model` that has, or should have, the last key of `loc`."""
    models = [model]
    for key in loc[:-1]:
        of_kind = [each for each in models if _kind(each) == key]
        fields = models[0].model_fields
        if len(models) > 1 and of_kind:
            models = of_kind
        elif key in fields:
            models = _models_in(fields[key].annotation) or models
    return list(models[0].model_fields)


def _kind(model: type[BaseModel]) -> str | None:
    """Which of several kinds of items a model is."""
    field = model.model_fields.get("kind")
    return get_args(field.annotation)[0] if field else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]


def _is_union_tag(part: Any) -> bool:
    """Pydantic puts the member of a union that it tried into the location: no key of the file."""
    return isinstance(part, str) and bool(
        re.match(r"^(constrained-|function-|literal\[|tuple\[|int$|str$|none$|\[key\])", part)
    )
