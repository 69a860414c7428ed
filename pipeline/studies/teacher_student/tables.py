"""The tables of one item. Light: readers need no torch."""

from dataclasses import dataclass

STUDY, TRAINED = "teacher_student", "trained_teacher"  # stages, sections of params, folders

COURSE = "course.csv"
LOSSES = "losses.csv"
WINNERS = "winners.csv"


@dataclass(frozen=True)
class CourseRow:
    """How the student nodes of one layer match its teacher nodes after an epoch.

    A node is dead when its activation is one number on all evaluation samples. Correlations with a dead
    student node count as 0; a dead teacher node is in `rho_all` alone, with 0. Ranks are shares of
    `student_nodes`: 0 is the best, .5 chance.
    """

    point: str
    seed: int
    epoch: int
    step: int
    layer: int  # from 1, at the bottom
    teacher_nodes: int
    dead_teacher_nodes: int
    student_nodes: int
    dead_student_nodes: int
    rho: float  # mean over live teacher nodes of the greatest correlation with a student node
    rho_all: float
    mean_rank: float  # here, of those student nodes that match best at the end
    median_rank: float
    matched: int  # teacher nodes with a student node at .9 or more
    matching: int  # student nodes with a teacher node at .9 or more
    samples: int  # evaluation examples, times positions in a convolution
    floor: float  # of the greatest of `student_nodes` correlations by chance: sqrt(2 ln nodes / samples)


@dataclass(frozen=True)
class LossRow:
    """Losses of one student after an epoch; accuracies are NaN where there are no labels."""

    point: str
    seed: int
    epoch: int
    step: int
    train_loss: float  # mean over the batches since the row before; NaN at the start
    test_loss: float  # on the evaluation examples
    accuracy: float  # of the student, on the evaluation examples
    teacher_accuracy: float


@dataclass(frozen=True)
class WinnerRow:
    """A teacher node and the student node that matches it best at the end; both count from 0."""

    point: str
    seed: int
    layer: int
    teacher_node: int
    dead: bool  # the teacher node is: the rest says nothing
    winner: int
    correlation: float
    first_correlation: float  # of the winner, before training
    first_rank: int  # of the winner before training: student nodes that correlate more
    early_rank: int  # after the first epoch that was evaluated
