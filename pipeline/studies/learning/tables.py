"""What is kept of the studies `regression` and `learning`: tables for each kind of item. Needs no torch."""

from dataclasses import dataclass

# Stages, sections of params, folders. Two, since DVC has to know which items need a variant prepared.
REGRESSION, LEARNING = "regression", "learning"

# Of items of `regression`.
MEANS, CURVES, FEATURES = "means.csv", "curves.csv", "features.csv"
UNFROZEN, FROZEN = "unfrozen", "frozen"
BIAS = "bias"  # of the second layer, beside its features 0, 1 ..

# Of items of `learning`, kind `weights`.
CHANGES, COURSE, FIRST_TERM = "changes.csv", "course.csv", "first_term.csv"

# Of items of `learning`, kind `shallow`.
SHALLOW = "shallow.csv"
LOGISTIC, SVM, CRAMMER_SINGER = "logistic", "svm", "svm_crammer_singer"


@dataclass(frozen=True, slots=True)
class MeanRow:
    """One network of G-5 before the update of `step`."""

    seed: int
    first_layer: str  # frozen | unfrozen
    step: int
    train_loss: float
    test_loss: float
    gsnr: float  # mean over the parameters of the second layer, ddof 1
    debiased: float
    num_undefined: int  # parameters left out of the means: 0/0


@dataclass(frozen=True, slots=True)
class CurveRow:
    """GSNR of one parameter of the second layer, first layer unfrozen."""

    seed: int
    step: int
    parameter: str  # number of its feature, or bias
    gsnr: float  # ddof 1; NaN for 0/0


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """A feature of the unfrozen network: its correlation with y over the training set (Table 1)."""

    seed: int
    feature: int
    first_correlation: float  # at step 0; NaN for a feature without variance
    peak_step: int  # at which the GSNR of its weight is highest
    peak_correlation: float
    first_gsnr: float
    peak_gsnr: float


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """Weights of one layer of G-6 before the update of `step`, and what the update does to their gradient.

    Correlations over the weights whose gradient changes, shares over those whose W g is not 0. `top`: the
    tenth of them with the largest |W|.
    """

    seed: int
    step: int
    layer: int  # 2 is the first with a layer before it
    weights: int
    unchanged: int  # left out of correlations: an exactly zero change
    correlation: float  # of W and the change of the mean gradient
    correlation_top: float
    opposed: float  # share with W g < 0
    opposed_top: float


@dataclass(frozen=True, slots=True)
class CourseRow:
    """The course of one network of G-6."""

    seed: int
    step: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float


@dataclass(frozen=True, slots=True)
class FirstTermRow:
    """Eq. 28's first term T in one layer of a small network, beside the change of the gradient Δg.

    Eq. 33 splits what learning the layers below does to the gradient, to first order, exactly: into what
    comes by the activations and what comes by the derivatives at the pre-activations. T is the part of the
    former with s' = s and c' = c. Sizes are norms over that of Δg.
    """

    seed: int
    step: int
    layer: int
    train_loss: float
    weights: int
    correlation_term_change: float  # of T and Δg
    correlation_change_weight: float  # of Δg and W
    correlation_term_weight: float  # of T and W
    size_term: float
    size_by_activations: float
    size_by_derivatives: float
    size_below: float  # of the sum of the last two


@dataclass(frozen=True, slots=True)
class ShallowRow:
    """GSNR of a linear model at a checkpoint of G-7."""

    seed: int
    model: str  # logistic | svm | svm_crammer_singer
    step: int
    train_loss: float
    train_accuracy: float
    gsnr: float  # mean over parameters, ddof 1
    debiased: float
    median: float  # debiased
    num_undefined: int


KINDS: dict[str, type] = {  # of the rows of each table
    MEANS: MeanRow,
    CURVES: CurveRow,
    FEATURES: FeatureRow,
    CHANGES: ChangeRow,
    COURSE: CourseRow,
    FIRST_TERM: FirstTermRow,
    SHALLOW: ShallowRow,
}
