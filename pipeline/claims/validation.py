"""Whether the claims that params name can be judged: known ids, all roles, items that fit. Before work."""

from collections.abc import Mapping

from pipeline.claims.claim import Built
from pipeline.claims.ledger import LEDGER
from pipeline.claims.validation_roles import check_points, check_role
from pipeline.config import Params
from pipeline.errors import InputError, unknown_name


def validate_claims(claims: Mapping[str, Mapping[str, str]], file: str = "params.yaml") -> None:
    """Raise `InputError` for the first id or role that cannot be judged. `claims`: id -> role -> item."""
    for name, roles in claims.items():
        where = f"{file}, claims.{name}"
        if name not in LEDGER:
            raise unknown_name(where, name, _buildable())
        built = _built(name, where)
        known = (*built.roles, *built.optional)
        for role in roles:
            if role not in known and not built.free_roles:
                raise unknown_name(f"{where}.{role}", role, known)
        for role in built.roles:
            if role not in roles:
                raise InputError(f"{where}.{role}: is missing. {_what_it_takes(name, built)}")
        if not roles:
            raise InputError(f"{where}: is empty. {_what_it_takes(name, built)}")


def validate_comparisons(params: Params, file: str = "params.yaml") -> None:
    """Raise `InputError` for the first claim whose runs do not fit their roles. Ids and roles are valid."""
    for name, roles in params.claims.items():
        _check_items(params, f"{file}, claims.{name}", roles, LEDGER[name].built)
        check_points(params, name, f"{file}, claims.{name}", roles)


def _buildable() -> list[str]:
    return [claim.id for claim in LEDGER.values() if claim.built and claim.built.takes_items]


def _what_it_takes(name: str, built: Built) -> str:
    """What params have to say about a claim."""
    if built.free_roles:
        return f"{name} takes any number of measured runs, each by a name of its own: {{NAME: RUN}}."
    if len(built.roles) > 1:
        things = dict.fromkeys(built.needs_of(role).thing for role in built.roles)
        return f"{name} compares {' with '.join(built.roles)}: name the {' or '.join(things)} for each."
    return f"{name} is read off one item: name the {built.needs_of(built.roles[0]).thing}."


def _built(name: str, where: str) -> Built:
    claim = LEDGER[name]
    if claim.parts:
        raise InputError(f"{where}: is judged by its parts. Name runs for {', '.join(claim.parts)} instead.")
    if claim.built is None:
        raise InputError(
            f"{where}: its experiment is not built yet ({claim.experiment}). Remove it; "
            f"claims that take runs: {', '.join(_buildable())}."
        )
    if not claim.built.takes_items:
        studies = ", ".join(claim.built.studies)
        raise InputError(
            f"{where}: takes no runs; it is judged by what the stage {studies} leaves, whether named here or "
            "not. Remove it."
        )
    return claim.built


def _check_items(params: Params, where: str, roles: Mapping[str, str], built: Built) -> None:
    """The items of a claim fit their roles, and what is compared is measured alike."""
    records = {role: built.needs_of(role).record(key) for role, key in roles.items()}
    for role, key in roles.items():
        twins = [other for other, record in records.items() if record == records[role]]
        if len(twins) > 1:
            every = " and ".join(twins)
            raise InputError(f"{where}: names '{key}' for {every}; each role needs a run of its own.")
        check_role(params, f"{where}.{role}", key, built.needs_of(role))
    for role, takes_median in (("mean", False), ("median", True)):
        key = roles.get(role) if role in built.roles else None
        if key is not None and params.named_run(key).takes_median is not takes_median:
            raise InputError(
                f"{where}.{role}: run '{key}' has aggregation '{params.named_run(key).aggregation}'. "
                f"This role needs {'m3 or median' if takes_median else 'a3 or mean'}."
            )
    measured = [roles[role] for role in built.roles if built.needs_of(role).measured_on]
    if len(measured) > 1:
        _check_alike(params, where, measured)


def _check_alike(params: Params, where: str, keys: list[str]) -> None:
    first, *others = keys
    for other in others:
        for field in ("examples", "estimator", "batch_size", "partitions", "batch_norm"):
            values = [getattr(params.measures[key], field) for key in (first, other)]
            if values[0] != values[1]:
                raise InputError(
                    f"{where}: measures.{first}.{field} and measures.{other}.{field} are {values[0]} and "
                    f"{values[1]}. M can be compared only when it is measured alike: make them equal."
                )
