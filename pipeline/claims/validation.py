"""Whether the claims that params name can be judged: known ids, all roles, comparable runs. Before work."""

from collections.abc import Mapping

from pipeline.claims.claim import Built
from pipeline.claims.ledger import LEDGER
from pipeline.config import Params
from pipeline.errors import InputError, unknown_name


def validate_claims(claims: Mapping[str, Mapping[str, str]], file: str = "params.yaml") -> None:
    """Raise `InputError` for the first id or role that cannot be judged. `claims`: id -> role -> run."""
    for name, roles in claims.items():
        where = f"{file}, claims.{name}"
        if name not in LEDGER:
            raise unknown_name(where, name, _buildable())
        built = _built(name, where)
        for role in roles:
            if role not in built.roles:
                raise unknown_name(f"{where}.{role}", role, built.roles)
        for role in built.roles:
            if role not in roles:
                raise InputError(
                    f"{where}.{role}: is missing. {name} compares {' with '.join(built.roles)}: "
                    "name the run for each."
                )


def validate_comparisons(params: Params, file: str = "params.yaml") -> None:
    """Raise `InputError` for the first claim whose runs do not fit their roles. Ids and roles are valid."""
    for name, roles in params.claims.items():
        _check_runs(params, f"{file}, claims.{name}", roles, LEDGER[name].built)


def _buildable() -> list[str]:
    return [claim.id for claim in LEDGER.values() if claim.built]


def _built(name: str, where: str) -> Built:
    claim = LEDGER[name]
    if claim.parts:
        raise InputError(f"{where}: is judged by its parts. Name runs for {', '.join(claim.parts)} instead.")
    if claim.built is None:
        raise InputError(
            f"{where}: its experiment is not built yet ({claim.experiment}). Remove it; "
            f"claims that take runs: {', '.join(_buildable())}."
        )
    return claim.built


def _check_runs(params: Params, where: str, roles: dict[str, str], built: Built) -> None:
    """The runs of a claim fit their roles: measured where M is read, and the median is one."""
    if len(set(roles.values())) < len(roles):
        raise InputError(
            f"{where}: names run '{next(iter(roles.values()))}' for every role; it needs two runs."
        )
    if built.reads_coherence:
        _check_measures(params, where, roles)
    for role, takes_median in (("mean", False), ("median", True)):
        key = roles.get(role)
        if key is not None and params.runs[key].takes_median is not takes_median:
            raise InputError(
                f"{where}.{role}: run '{key}' has aggregation '{params.runs[key].aggregation}'. "
                f"This role needs {'m3 or median' if takes_median else 'a3 or mean'}."
            )


def _check_measures(params: Params, where: str, roles: dict[str, str]) -> None:
    for role, key in roles.items():
        if key not in params.measures:
            raise InputError(f"{where}.{role}: run '{key}' is not measured. Add measures.{key}.")
        if "train" not in params.measures[key].splits:
            raise InputError(
                f"{where}.{role}: M is read on training examples. Add 'train' to measures.{key}.splits."
            )
    first, second = (params.measures[key] for key in roles.values())
    for field in ("examples", "estimator", "batch_size", "partitions", "batch_norm"):
        if getattr(first, field) != getattr(second, field):
            keys = " and ".join(f"measures.{key}.{field}" for key in roles.values())
            raise InputError(
                f"{where}: {keys} are {getattr(first, field)} and {getattr(second, field)}. "
                "M can be compared only when it is measured alike: make them equal."
            )
