"""What is kept of the matrix dynamics. Needs no torch."""

from dataclasses import dataclass

STUDY = "matrix_dynamics"  # section, stage and folder
ROW_NORMS = "row_norms.csv"


@dataclass(frozen=True, slots=True)
class RowNormRow:
    """The rows of V of one student at one step: those of the u-set, and of the r-set, the others."""

    factor: int  # hidden nodes of the student for each of the teacher's
    p_w: float  # how close W_u starts to the teacher's W, see `start`
    p_v: float
    seed: int
    step: int
    lucky: float  # mean norm of the rows of V_u
    other: float  # mean norm of the rows of V_r
    to_teacher: float  # mean cosine of w_j to its own teacher's, over the u-set
