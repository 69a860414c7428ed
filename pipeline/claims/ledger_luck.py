"""The claims of LUCK: Tian et al. 2019, Luck matters, arXiv 1905.13405."""

from collections.abc import Callable

from pipeline.claims import batch_norm_biases, teacher_student, theorem_5
from pipeline.claims.claim import Built, Claim, Reading, Records
from pipeline.claims.student_points import ROLES

PAPER = "LUCK"


def _students(name: str, read: Callable[[Records], tuple[Reading, ...]]) -> Built:
    """A claim that is read off items of the studies with students."""
    roles = ROLES[name]
    return Built(tuple(roles), read, own_needs=roles)


LUCK = (
    Claim(
        "L-1",
        PAPER,
        "Section 5.2, Figures 8 and 9",
        "Fully connected student nodes specialise to teacher nodes; early leaders tend to win.",
        "correlation grows, most in low layers; winners rank well after the first epoch",
        built=_students("L-1", teacher_student.specialise),
    ),
    Claim(
        "L-2",
        PAPER,
        "Section 5.2, Figures 8 and 9",
        "Convolutional students do so as well, and batch norm helps them a lot on Gaussian input.",
        "as L-1",
        built=_students("L-2", teacher_student.with_batch_norm),
    ),
    Claim(
        "L-3",
        PAPER,
        "Section 5.2, Figures 8 and 9",
        "On CIFAR-10 students often surpass a trained teacher; batch norm improves mean rank.",
        "student accuracy often above the teacher's",
        built=_students("L-3", teacher_student.surpass),
    ),
    Claim(
        "L-4",
        PAPER,
        "Section 5.2, Figure 12",
        "More over-parameterisation gives higher and steadier correlation.",
        "steadier and higher with the factor; the largest factors slower",
        built=_students("L-4", teacher_student.wider_is_better),
    ),
    Claim(
        "L-5",
        PAPER,
        "Section 4.2, Figure 7 (Theorem 5)",
        "The fan-out weights of nodes that match no teacher node converge to zero.",
        "row norms of V: the lucky set grows, the rest falls to zero, if W starts close",
        built=Built((theorem_5.ROLE,), theorem_5.read, needs=theorem_5.needs()),
    ),
    Claim(
        "L-6",
        PAPER,
        "Section 4.1, Figure 6",
        "Batch-norm biases of trained VGG networks are mostly negative, more so in high layers.",
        "share negative per layer from about 55-80 % at the bottom to 100 % at the top",
        built=Built((batch_norm_biases.ROLE,), batch_norm_biases.read, needs=batch_norm_biases.needs()),
    ),
    Claim(
        "L-7",
        PAPER,
        "Section 5.2, Figures 10 and 11",
        "Small teachers are matched faster, and faster without batch norm; large ones the reverse.",
        "finite data stalls early; beta is near diagonal after matching",
        built=_students("L-7", teacher_student.ablations),
    ),
)
