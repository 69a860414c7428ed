"""The section on LUCK's theory: what was checked of Theorems 1 to 4, and beta and H as heat maps."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes

from pipeline.claims.reading import StudyRecord
from pipeline.reporting.panels import Group, Panel, grouped, make_panel
from pipeline.studies.theorems.tables import CHECKS, HEAT_MAPS, STUDY, CheckRow, HeatRow

MOMENTS = {"start": "before training", "end": "after matching"}
MATRICES = {"beta": "β*", "h": "H*"}


@dataclass(frozen=True)
class Theory:
    """Checks in their order, and the panels under their headings."""

    checks: tuple[CheckRow, ...]
    panels: tuple[Panel, ...]

    @property
    def groups(self) -> list[tuple[Group | None, list[Panel]]]:
        """The panels in their order, those under one heading together."""
        return [
            (group, list(panels)) for group, panels in groupby(self.panels, key=lambda panel: panel.group)
        ]


def theory(studies: Mapping[str, StudyRecord]) -> Theory | None:
    """What the stage `theorems` left; None where it has not run."""
    if STUDY not in studies:
        return None
    record = studies[STUDY]
    rows = record.rows(HEAT_MAPS, HeatRow)
    panels = [
        panel
        for moment, words in MOMENTS.items()
        for panel in grouped(
            Group(f"β* and H* of each hidden layer, {words}", folded=moment == "start"),
            [
                _heat_map(moment, layer, matrix, rows)
                for matrix in MATRICES
                for layer in sorted({row.layer for row in rows})
            ],
        )
    ]
    return Theory(record.rows(CHECKS, CheckRow), tuple(panels))


def _heat_map(moment: str, layer: int, matrix: str, rows: tuple[HeatRow, ...]) -> Panel:
    """Students that match a teacher node best against teacher nodes: what agrees stands on the diagonal."""
    cells = [row for row in rows if (row.moment, row.layer, row.matrix) == (moment, layer, matrix)]
    side = max(row.teacher for row in cells) + 1
    values = np.zeros((side, side))
    for row in cells:
        values[row.student, row.teacher] = row.value
    limit = np.abs(values).max() or 1.0

    def draw(axes: Axes) -> None:
        axes.grid(visible=False)
        axes.pcolormesh(values, cmap="RdBu_r", vmin=-limit, vmax=limit, edgecolors="face", linewidth=0.3)
        axes.set_aspect("equal")
        axes.invert_yaxis()
        axes.set_xlabel("teacher node")
        axes.set_ylabel("its best student")
        axes.set_xticks([])
        axes.set_yticks([])

    title = f"{MATRICES[matrix]}, layer {layer}"
    return make_panel(f"theory-{moment}-{matrix}-{layer}", title, draw, small=True)
