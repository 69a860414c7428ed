"""Where things lie in the repository, from whichever of its folders a command is called."""

from pathlib import Path

from pipeline.errors import InputError


def find_root(start: Path | None = None) -> Path:
    """The nearest folder, from `start` upwards, that holds `dvc.yaml` and `params.yaml`."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "params.yaml").is_file():
            return folder
    raise InputError(
        f"{start}: no dvc.yaml with a params.yaml here or above. Call this inside the repository."
    )


class Layout:
    """The folders of one checkout. Each property is a path; none is created by being named."""

    def __init__(self, root: Path):
        self.root = root
        self.params = root / "params.yaml"
        self.raw = root / "data" / "raw"
        self.generated = root / "data" / "generated"
        self.checkpoints = root / "data" / "checkpoints"
        self.locks = root / "data" / "locks"
        self.mlruns = root / "mlruns"
        self.reports = root / "reports"

    def variant(self, name: str) -> Path:
        """The betons and the manifest of a dataset variant."""
        return self.root / "data" / "sets" / name

    def run(self, name: str) -> Path:
        """Weights, snapshots and curves of a run: a folder `seed-N` for each seed."""
        return self.root / "data" / "runs" / name

    def split(self, name: str) -> Path:
        """Scores of the examples that a split was made by, and what single examples took to fit."""
        return self.root / "data" / "splits" / name

    def measures(self, name: str) -> Path:
        """The tables measured on the snapshots of a run."""
        return self.root / "data" / "measures" / name

    def study(self, name: str, item: str = "") -> Path:
        """The tables of a study that is more than training and measuring, or of one of its items.

        Its stage has the same name, and so has the section of params that its items stand in.
        """
        return self.root / "data" / "studies" / name / item
