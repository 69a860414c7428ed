"""The table of GSNR that the stage `measure` leaves, one row a number; light, for those who only read it."""

from dataclasses import dataclass

FILE = "gsnr.csv"
SPREADS = ("mean", "median", "p95")
GSNR_QUANTITIES = (
    *(f"gsnr_{name}" for name in SPREADS),
    *(f"gsnr_debiased_{name}" for name in SPREADS),
    *("osgr", "num_parameters", "num_live", "num_undefined", "num_infinite"),
)
SIGN_QUANTITIES = ("p_same_sign", "p_same_sign_null", "p_sign_of_mean")
NOT_AVAILABLE = "not available"  # in place of an estimator: signs are never imputed


@dataclass(frozen=True, slots=True)
class GsnrRow:
    """A number of one snapshot, split, subset and layer (`all`: the whole network)."""

    run: str
    seed: int
    step: int
    epoch: float
    loss: float  # of the mini-batch at this step
    split: str
    subset: str
    layer: str
    quantity: str  # GSNR_QUANTITIES, SIGN_QUANTITIES
    value: float
    m: int  # examples
    num_gradients: int  # what went in: m examples when exact, B batches when imputed
    ddof: int  # of the variance
    k: int  # examples behind one gradient; 1 when exact
    estimator: str  # exact | imputed | not available
    batch_norm: str  # none | train | eval
