"""The figure of G-4, after the paper's Figure 4: GSNR and agreement of signs; and M beside OSGR."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from pipeline.claims.numbers import Runs, snapshots
from pipeline.claims.reading import RunRecord
from pipeline.claims.signal_to_noise import EARLY, GSNR, NETWORKS, agreement, stripped, whole
from pipeline.reporting.panels import Group, Line, Panel, Shown, grouped, lines_panel, make_panel
from pipeline.reporting.series import curve_lines, row_lines
from pipeline.reporting.style import BAD, CONTROL, GOOD, GUIDE, SPLIT_LINES

# Of roles without the prefix of their network.
LOOKS = {"real": ("true labels", GOOD), "labels": ("random labels", BAD), "images": ("noise images", CONTROL)}
MOST_LAYERS = 8  # of a network
LAYERS = Group("GSNR of each layer over epochs; scales differ")
CAPTION = (
    "GSNR is the mean over all parameters with a finite value, debiased, so that no signal reads 0 and not "
    f"1/n. Thin lines: seeds; bold: their median. Shaded: epochs 1 to {EARLY:g}, which are judged.",
    "p_same_sign is the mean over parameters of the larger share of one sign, among the examples whose "
    "gradient is not zero; of n signs drawn at random it would be 1/2 + 1/sqrt(2 pi n), which is subtracted. "
    "Classes alone lift it, on any data: nine examples of ten push an output down.",
    "The paper's setting: CIFAR, a simple network and ResNet-18. It finds that p_same_sign rises from 50 to "
    "56 % (of Gaussian gradients that is a GSNR of .023), that GSNR stays high on true labels, and low on "
    "random ones throughout. Here it falls on true labels too once they are fitted.",
)
ONE_THEORY = (
    "M and OSGR: the first seed on true labels. OSGR is what a step along the mean gradient of the measured "
    "examples does for new ones over what it does for these. Line: (m/(m - 1)) (1 - 1/M), of coherence; "
    "rings are eq. 19, of GSNR's means and variances. They are one measurement (docs/theory.md)."
)


def draw(claim: str, runs: Runs) -> Shown:
    """For each network GSNR, agreement of signs where there is one, accuracy, M with OSGR, and layers."""
    panels: list[Panel] = []
    layers: list[Panel] = []
    for prefix, name in NETWORKS.items():
        some = stripped(runs, prefix)
        some = {role: some[role] for role in LOOKS if role in some}
        if some:
            panels += _of_network(f"{claim}-{prefix}", name, some)
            layers += _layers(f"{claim}-{prefix}", name, some)
    return Shown((*panels, *grouped(LAYERS, layers)), (*CAPTION, ONE_THEORY))


def _of_network(start: str, name: str, runs: Runs) -> list[Panel]:
    gsnr = [Line(*LOOKS[role], row_lines(whole(run, GSNR), "epoch")) for role, run in runs.items()]
    panels = [lines_panel(f"{start}gsnr", f"{name}GSNR over epochs", gsnr, _finish("GSNR, debiased"))]
    signs = [Line(*LOOKS[role], row_lines(agreement(run), "epoch")) for role, run in runs.items()]
    if any(line.lines for line in signs):
        title = f"{name}p_same_sign over epochs"
        panels.append(lines_panel(f"{start}signs", title, signs, _finish("p_same_sign - chance")))
    panels.append(_accuracy(f"{start}accuracy", name, runs))
    if "real" in runs:
        panels.append(_m_and_osgr(f"{start}osgr", f"{name}M and OSGR along one run", runs["real"]))
    return panels


def _finish(quantity: str):
    def finish(axes: Axes) -> None:
        axes.axvspan(1, EARLY, color="#f3f3f3", zorder=0)
        axes.axhline(0, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
        axes.set_xlim(left=0)
        axes.set_xlabel("epoch")
        axes.set_ylabel(quantity)
        axes.legend(loc="best")

    return finish


def _accuracy(name: str, network: str, runs: Runs) -> Panel:
    lines = [
        Line(f"{LOOKS[role][0]}, {split}", LOOKS[role][1], curve_lines(run, split, "all", "accuracy"), style)
        for role, run in runs.items()
        for split, style in SPLIT_LINES.items()
    ]
    chance = 1 / next(iter(runs.values())).num_classes

    def finish(axes: Axes) -> None:
        axes.axhline(chance, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
        axes.set_xlim(left=0)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("epoch")
        axes.set_ylabel("accuracy")
        axes.legend(loc="best", fontsize=7.5)

    return lines_panel(name, f"{network}Accuracy", lines, finish)


def _m_and_osgr(name: str, title: str, run: RunRecord) -> Panel:
    """M on the left scale, OSGR of coherence and of GSNR on the right, of the first seed."""
    seed = run.seeds[0]
    rows = [row for row in snapshots(run, "train") if row.seed == seed and row.value > 0]
    predicted = [row for row in whole(run, "osgr") if row.seed == seed]

    def draw(axes: Axes) -> None:
        right = axes.twinx()
        axes.set_position((0.125, 0.155, 0.75, 0.745))
        right.set_position(axes.get_position())
        right.spines["right"].set_visible(True)
        right.grid(visible=False)
        epochs = [row.epoch for row in rows]
        axes.plot(epochs, [row.value for row in rows], color=GOOD, marker="o", label="M (left)")
        ratios = [row.m / (row.m - 1) * (1 - 1 / row.value) for row in rows]
        right.plot(epochs, ratios, color=BAD, label="OSGR from M (right)")
        right.plot(
            *_points(predicted),
            color=BAD,
            marker="o",
            markerfacecolor="none",
            markersize=6,
            linestyle="none",
            label="OSGR from GSNR, eq. 19",
        )
        axes.axhline(1, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
        axes.set_ylim(bottom=0)
        right.set_ylim(min(0, *ratios) if ratios else 0, 1.02)
        axes.set_xlim(left=-0.1)
        axes.set_xlabel("epoch")
        axes.set_ylabel("M")
        right.set_ylabel("OSGR, R(m)")
        handles = [*axes.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
        axes.legend(handles=handles, loc="lower right")

    return make_panel(name, title, draw)


def _points(rows: Sequence) -> tuple[list[float], list[float]]:
    return [row.epoch for row in rows], [row.value for row in rows]


def _layers(start: str, name: str, runs: Runs) -> list[Panel]:
    """GSNR of each layer; a deep network's are thinned evenly, its first and last among them."""
    names = next(iter(runs.values())).layers
    last, shown = len(names) - 1, min(len(names), MOST_LAYERS)
    panels = []
    for place in (round(number * last / max(shown - 1, 1)) for number in range(shown)):
        lines = [
            Line(*LOOKS[role], row_lines(whole(run, GSNR, names[place]), "epoch"))
            for role, run in runs.items()
        ]
        title = f"{name}{place + 1}. {names[place]}"
        finish = _finish("GSNR")
        panels.append(lines_panel(f"{start}layer-{place + 1:02d}", title, lines, finish, small=True))
    return panels
