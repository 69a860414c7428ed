"""What is kept of batch-norm biases. Needs no torch."""

from dataclasses import dataclass

STUDY = "batch_norm_biases"  # section, stage and folder
BIASES = "biases.csv"

# Per layer of torchvision's pretrained VGG19 with batch norm [%], read off the paper's Figure 6.
PAPER_VGG19 = (81, 55, 72, 65, 75, 76, 77, 89, 98, 97, 96, 99, 99, 99, 99, 100)


@dataclass(frozen=True, slots=True)
class BiasRow:
    """One batch-norm layer of one network."""

    seed: int
    position: int  # among the batch-norm layers, from 1 at the input
    layer: str
    biases: int
    negative: int
    mean: float

    @property
    def share(self) -> float:
        """Of the biases that are negative."""
        return self.negative / self.biases
