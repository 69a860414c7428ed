"""What is kept of the checks of theory: a table for each, and the findings. Needs no torch."""

from dataclasses import dataclass

STUDY = "theorems"  # the stage, and its folder
RECURSION, DYNAMICS, CONSERVATION = "recursion.csv", "dynamics.csv", "conservation.csv"
ANGLES, OVERLAPS, MODULATION, HEAT_MAPS = "angles.csv", "overlaps.csv", "modulation.csv", "heat_maps.csv"
CHECKS = "checks.csv"


@dataclass(frozen=True, slots=True)
class RecursionRow:
    """Theorem 1 in one layer: the gradient by the recursion beside autograd's, over examples and nodes."""

    network: str
    layer: int  # 1 is the first hidden layer
    examples: int
    nodes: int
    largest: float  # of autograd's gradients, in size
    deviation: float  # the greatest, over `largest`


@dataclass(frozen=True, slots=True)
class DynamicsRow:
    """Theorem 2 in one layer: the update by the matrix dynamics beside autograd's of the whole sample."""

    network: str
    layer: int  # 0: from the input to the first hidden layer
    top: bool
    seed: int
    gap: float  # norm of the difference over that of autograd's
    cosine: float


@dataclass(frozen=True, slots=True)
class ConservationRow:
    """Theorem 3 for the filters of one layer, the greatest over them."""

    order: str  # bn-relu | relu-bn | none
    bias: bool
    with_bias: bool  # whether b² counts
    eps: float
    # w . dL/dw (+ b dL/db) over the product of the norms: 0 where the norm is conserved.
    slope: float
    leak: float  # the same as the leak of eps has it
    leak_deviation: float  # slope less leak
    step_deviation: (
        float  # of ||w'||² after an SGD step from ||w||² + eta² ||grad||², over the latter's growth
    )
    growth: float  # ||w||² after `time` at learning rate eta, relative
    growth_half: float  # at eta / 2, with twice the steps
    growth_quarter: float


@dataclass(frozen=True, slots=True)
class AngleRow:
    """Theorem 4: the nodes of one teacher and student at one step of the projected dynamics."""

    bias: float  # of every node of teacher and student
    start: float  # [degrees]
    seed: int
    step: int
    overlap: float  # off-diagonal over diagonal of d at w = w*, the mean
    mean: float  # angle of w_j to w*_j [degrees]
    largest: float
    below_start: float  # share of nodes
    rising: float  # share of nodes whose angle is greater than at the row before


@dataclass(frozen=True, slots=True)
class OverlapRow:
    """Assumption 3 in one layer of a teacher: how much two nodes are active together."""

    teacher: str
    bias: float  # mean of the biases' distribution
    seed: int
    layer: int
    never_active: int  # nodes
    gates: float  # E[f'_j f'_k] over the geometric mean of the two diagonal entries, mean over pairs
    nodes: float  # the same of f
    gates_largest: float
    nodes_largest: float


@dataclass(frozen=True, slots=True)
class ModulationRow:
    """beta* and H* of one layer before or after training, each teacher node with its best student."""

    moment: str  # start | end
    seed: int
    layer: int
    correlation: float  # of teacher nodes with their best students, mean
    beta_rows: float  # share of students whose largest entry is their teacher's
    h_rows: float
    beta_ratio: float  # mean of the diagonal over the mean size off it
    h_ratio: float


@dataclass(frozen=True, slots=True)
class HeatRow:
    """An entry of beta* or H*: row `student` is the student that matches teacher node `student` best."""

    moment: str
    layer: int
    matrix: str  # beta | h
    student: int
    teacher: int
    value: float


@dataclass(frozen=True, slots=True)
class CheckRow:
    """What the theory says, and what was found. `none`: reported, not judged."""

    theorem: str
    check: str
    found: float
    direction: str  # <= | >= | none
    threshold: float
    verdict: str  # holds | fails | reported
