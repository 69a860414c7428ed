"""LUCK's Figure 6: the share of negative batch-norm biases in every layer, with the paper's VGG19 beside."""

from collections.abc import Mapping

from matplotlib.axes import Axes

from pipeline.claims.batch_norm_biases import ROLE, layers
from pipeline.claims.reading import StudyRecord
from pipeline.reporting.panels import Line, Shown, lines_panel
from pipeline.reporting.series import point_lines
from pipeline.reporting.style import GOOD, GUIDE
from pipeline.studies.batch_norm_biases.tables import PAPER_VGG19

DASHED = (0, (4, 2))
CAPTION = (
    "Share of negative biases of each batch-norm layer over its place in the network, 0 the first and 1 the "
    "last, for networks differ in depth. Thin lines: seeds; bold: their median. Dotted: a half.",
    "Dashed: VGG19 with batch norm, trained on ImageNet (torchvision's weights), as in the paper's Figure 6. "
    "A bias starts at 0, and on small data trained for few epochs it does not move far.",
)


def draw(claim: str, items: Mapping[str, StudyRecord]) -> Shown:
    """One panel over relative depth."""
    networks = layers(items[ROLE])
    last = len(networks[0]) - 1
    shares = {
        place / last: [row.share for row in rows] for place, rows in enumerate(zip(*networks, strict=True))
    }
    paper = {place / (len(PAPER_VGG19) - 1): [share / 100] for place, share in enumerate(PAPER_VGG19)}
    lines = [
        Line("the paper's VGG19", GUIDE, point_lines(paper), DASHED),
        Line(items[ROLE].key, GOOD, point_lines(shares)),
    ]

    def finish(axes: Axes) -> None:
        axes.axhline(0.5, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
        axes.set_xlabel("depth (0: first batch-norm layer, 1: last)")
        axes.set_ylabel("share negative")
        axes.set_ylim(-0.02, 1.02)
        axes.legend(loc="lower left")

    panel = lines_panel(f"{claim}-share", "Share of negative biases by depth", lines, finish)
    return Shown((panel,), CAPTION)
