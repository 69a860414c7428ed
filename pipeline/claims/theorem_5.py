"""How LUCK's claim on Theorem 5 (L-5) is read off the row norms of V over the matrix dynamics.

The paper shows curves and gives no numbers. What is asked for: where W starts near the teacher's (p_W = 1)
the gap between the rows of V_u and those of V_r widens, and V_r falls to zero where V starts near as well;
where W does not (p_W = .3) the gap hardly widens. Thresholds were set on root seeds 200 and 201.
"""

from pipeline.claims.claim import Ingredient, Needs, Reading, Records, UnreadableError
from pipeline.claims.reading import StudyRecord
from pipeline.config import MatrixDynamics
from pipeline.studies.matrix_dynamics.tables import ROW_NORMS, STUDY, RowNormRow

ROLE = "students"
NEAR, LITTLE, NOT, FAR = (1.0, 1.0), (1.0, 0.3), (1.0, 0.0), (0.3, 1.0)  # (p_W, p_V)
GROWTH = {NEAR: 0.4, LITTLE: 0.3, NOT: 0.05}  # of the gap, at least
MOST_FAR = 0.3  # growth of the gap where W is far
MOST_OTHER = 0.2  # row norm of V_r at the end, W and V near, where that of V_u is about 1.2

Ends = list[tuple[RowNormRow, RowNormRow]]  # first and last step of each seed


def needs() -> Needs:
    """An item with the configurations that are compared."""
    return Needs(study=STUDY, wrong=_wrong)


def read(records: Records) -> tuple[Reading, ...]:
    """Checks at each factor of over-parameterisation."""
    record, found = records[ROLE], []
    for factor in record.spec.factors:
        ends = {closeness: _ends(record, factor, closeness) for closeness in (*GROWTH, FAR)}
        found += [
            _growth(factor, closeness, ends[closeness], ">=", least) for closeness, least in GROWTH.items()
        ]
        found.append(_growth(factor, FAR, ends[FAR], "<=", MOST_FAR))
        others = tuple(last.other for _, last in ends[NEAR])
        found.append(Reading(f"row norm of V_r at the end, {words(factor, NEAR)}", others, "<=", MOST_OTHER))
    return tuple(found)


def rows_of(record: StudyRecord, factor: int, closeness: tuple[float, float]) -> list[RowNormRow]:
    """The rows of one configuration, by seed and step."""
    rows = record.rows(ROW_NORMS, RowNormRow)
    found = [row for row in rows if (row.factor, row.p_w, row.p_v) == (factor, *closeness)]
    return sorted(found, key=lambda row: (row.seed, row.step))


def words(factor: int, closeness: tuple[float, float]) -> str:
    """What a configuration is called."""
    p_w, p_v = closeness
    return f"{factor}x, p_W {p_w:g}, p_V {p_v:g}"


def _growth(
    factor: int, closeness: tuple[float, float], ends: Ends, direction: str, threshold: float
) -> Reading:
    gaps = [tuple(pair[place].lucky - pair[place].other for pair in ends) for place in (0, 1)]
    growth = tuple(last - first for first, last in zip(*gaps, strict=True))
    parts = tuple(
        Ingredient(f"gap {when}", gap) for when, gap in zip(("at step 0", "at the end"), gaps, strict=True)
    )
    name = f"growth of the gap V_u - V_r, {words(factor, closeness)}"
    return Reading(name, growth, direction, threshold, parts)


def _ends(record: StudyRecord, factor: int, closeness: tuple[float, float]) -> Ends:
    by_seed: dict[int, list[RowNormRow]] = {}
    for row in rows_of(record, factor, closeness):
        by_seed.setdefault(row.seed, []).append(row)
    if set(by_seed) != set(record.seeds):
        raise UnreadableError(f"{ROW_NORMS} has not every seed at {words(factor, closeness)}")
    return [(rows[0], rows[-1]) for rows in by_seed.values()]


def _wrong(spec: MatrixDynamics) -> str:
    missing = [list(closeness) for closeness in (*GROWTH, FAR) if closeness not in spec.closeness]
    return f"has no closeness {missing[0]}; this claim compares it with others: add it" if missing else ""
