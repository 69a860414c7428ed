"""The matrix dynamics of a student of one hidden layer (LUCK: Theorem 5, Section 4.2)."""

from collections import Counter
from typing import Annotated

from pydantic import Field, model_validator

from pipeline.config.base import Count, Spec

Closeness = Annotated[float, Field(ge=0)]
# As in the paper: W near the teacher's; V as near, a little, not at all; and V near while W is hardly.
CLOSENESS = ((1.0, 1.0), (1.0, 0.3), (1.0, 0.0), (0.3, 1.0))


class MatrixDynamics(Spec):
    """Teachers 10-20-30 and wider students, whose first 20 nodes start near the teacher's."""

    seeds: Count = 5  # teachers, each with students of its own
    factors: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(strict=False, min_length=1)] = (2,)
    closeness: Annotated[
        tuple[Annotated[tuple[Closeness, Closeness], Field(strict=False)], ...],
        Field(strict=False, min_length=1),
    ] = CLOSENESS  # (p_W, p_V): the teacher's part in W_u and in V_u, noise having 1
    steps: Count = 20000
    lr: Annotated[float, Field(gt=0)] = 0.05
    batch_size: Annotated[int, Field(ge=2)] = 64  # drawn anew at every step
    points: Count = 100  # steps in the table, evenly, and the start

    @model_validator(mode="after")
    def _possible(self) -> "MatrixDynamics":
        for name in ("factors", "closeness"):
            value, times = Counter(getattr(self, name)).most_common(1)[0]
            if times > 1:
                raise ValueError(f"{name}: {value} stands {times} times; write each once")
        if self.points > self.steps:
            raise ValueError(f"points {self.points} of a table are more than its steps, {self.steps}")
        return self
