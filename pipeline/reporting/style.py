"""How every figure looks: one plain dict of settings, and the meaning of each colour and line."""

# Okabe & Ito's palette, told apart by readers with any colour vision: blue for what the theory says
# generalises, vermilion for what memorises.
GOOD, BAD, CONTROL = "#0072B2", "#D55E00", "#009E73"
COLOURS = {
    **dict.fromkeys(("real", "median", "easy", "pristine"), GOOD),
    **dict.fromkeys(("noise", "mean", "hard", "corrupt"), BAD),
    **dict.fromkeys(("random", "all"), CONTROL),
}
MARKERS = {GOOD: "o", BAD: "s", CONTROL: "D"}
LABELS = {"median": "M3 (median)", "mean": "A3 (mean)"}  # of roles; the others are called what they are
# From little to much of something: viridis without its lightest, which is lost on white.
SHADES = ("#440154", "#3f4a8a", "#26828e", "#3fbc73", "#b5ca1a")
LineStyle = str | tuple[int, tuple[int, ...]]  # as matplotlib takes it
SPLIT_LINES: dict[str, LineStyle] = {"train": "-", "test": (0, (4, 2))}
GUIDE = "#8a8a8a"  # reference lines and what is left out

PANEL_INCHES = (4.6, 3.1)
SMALL_PANEL_INCHES = (3.4, 2.5)
# Left, bottom, width, height: fixed, so that panels side by side line up (and twice as fast to draw).
AXES = (0.125, 0.155, 0.86, 0.745)
SMALL_AXES = (0.155, 0.19, 0.825, 0.69)
Y_LABEL = (-0.097, 0.5)  # of the axes: wide tick labels would push it out of the figure
SMALL_Y_LABEL = (-0.14, 0.5)
# The same beside the scale of a heat map, and that scale.
HEAT_AXES, SCALE_AXES = (0.125, 0.155, 0.66, 0.745), (0.83, 0.155, 0.035, 0.745)

STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be searched and copied, and files are small
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 8.8,
    "legend.handlelength": 2.2,
    "lines.linewidth": 2.0,
    "lines.markersize": 3.4,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
