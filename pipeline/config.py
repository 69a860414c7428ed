"""`params.yaml` as typed, frozen models. The only place that reads it.

Every model forbids unknown keys and every value has its range here, once. `load_params` turns whatever is
wrong into one `InputError` that names the file and the key.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.config_errors import describe
from pipeline.config_references import check_references
from pipeline.errors import InputError

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
ItemName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]

SourceKind = Literal[
    "digits", "glyphs", "imagefolder", "mnist", "fashionmnist", "cifar10", "cifar100", "imagenette"
]
NATIVE_SIZE = {"digits": 8, "glyphs": 16, "mnist": 28, "fashionmnist": 28, "cifar10": 32, "cifar100": 32}


class Spec(BaseModel):
    """The base of every model here: frozen, no silent conversions, no unknown keys, no infinite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Glyphs(Spec):
    """Knobs of the procedural glyphs (16x16, three curved strokes; SCIENCE of the set in docs/data.md)."""

    classes: Annotated[int, Field(ge=2, le=100)] = 10
    train_examples: Count = 3000
    test_examples: Count = 1000
    modes: Count = 10  # ways of drawing one class
    zipf: Annotated[float, Field(ge=0, le=5)] = 1.2  # exponent of the modes' frequencies: the long tail
    affine_jitter: Annotated[float, Field(ge=0, le=1)] = 0.12
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.06  # share of the side
    pixel_noise: Annotated[float, Field(ge=0, le=1)] = 0.15  # standard deviation; 1 = white minus black
    clutter: Fraction = 0.3  # share of images with a stroke of no meaning


class Source(Spec):
    """Where images come from, before any corruption."""

    kind: SourceKind
    path: str | None = None  # folder, relative to the repository or absolute
    download: bool = False  # torchvision sets only
    image_size: Annotated[int, Field(ge=4, le=4096)] | None = None  # side in pixels; None = native
    resize: Annotated[int, Field(ge=4, le=8192)] | None = None  # shorter side before the centre crop
    classes: Annotated[int, Field(ge=2)] | Annotated[tuple[str, ...], Field(strict=False)] | None = None
    examples_per_class: Count | None = None  # of the training part
    test_examples_per_class: Count | None = None
    fraction: PositiveFraction = 1.0  # of each class, in both parts
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2  # of a folder without train/ and val/
    on_bad_image: Literal["stop", "skip"] = "stop"
    encoding: Literal["auto", "raw", "jpg"] = "auto"  # auto: raw up to 64 pixels a side
    jpg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    glyphs: Glyphs = Glyphs()

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "Source":
        if self.kind in ("imagefolder", "imagenette") and self.image_size is None:
            raise ValueError(f"kind '{self.kind}' needs image_size: the side in pixels of the centre crop")
        if self.kind not in ("digits", "glyphs") and self.path is None:
            raise ValueError(f"kind '{self.kind}' needs path: the folder that holds the images")
        if self.resize is not None and self.image_size is not None and self.resize < self.image_size:
            raise ValueError(f"resize {self.resize} is smaller than image_size {self.image_size}")
        if self.download and self.kind in ("digits", "glyphs", "imagefolder"):
            raise ValueError(f"kind '{self.kind}' has nothing to download: remove 'download'")
        return self

    @property
    def side(self) -> int:
        """Side of the prepared images in pixels."""
        return self.image_size or NATIVE_SIZE[self.kind]


class Variant(Spec):
    """A source with its corruptions; each is drawn per index, so they compose."""

    source: str
    noise_images: Fraction = 0.0  # fraction replaced by Gaussian noise, in train and test
    noise_labels: Fraction = 0.0  # fraction given a new label, in train only
    label_noise: Literal["uniform", "next"] = "uniform"  # new labels: any, or the class after the own one
    permute_pixels: Literal["none", "shared", "each"] = "none"  # one permutation for all, or one an image


class Model(Spec):
    """A network by name, with the options of its builder (see models/builder.py)."""

    name: str
    options: dict[str, Any] = {}


class Snapshots(Spec):
    """When weights are kept to be measured."""

    drop: Annotated[float, Field(gt=0, lt=1)] = 0.25  # fraction below the low-water mark of the batch loss
    first_steps: Annotated[int, Field(ge=0)] = 3  # steps 0 .. first_steps - 1 are always kept
    cap: Annotated[int, Field(ge=2)] = 24  # most snapshots between the first steps and the end


Aggregation = Literal["mean", "median", "winsorized", "a3", "m3"]
Loss = Literal["cross_entropy", "generalized_cross_entropy"]


def _short(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in error.errors()]


class Run(Spec):
    """One training run: a variant, a network, an optimizer, an aggregation of gradients."""

    study: str = "coherent-gradients"
    variant: str  # or a view of one that a split made: SPLIT.easy, .hard, .random, .all
    seeds: Count = 3
    model: Model
    loss: Loss = "cross_entropy"
    loss_q: Annotated[float, Field(gt=0, le=1)] = 0.7  # of generalized_cross_entropy
    lr: Annotated[float, Field(gt=0)]
    batch_size: Count  # examples of one update, all micro-batches together
    epochs: Count
    stop_at_loss: Annotated[float, Field(ge=0)] = 0.0  # training loss that ends the run; 0 = never
    aggregation: Aggregation = "mean"
    micro_batches: Count = 1
    winsorize_percent: Annotated[float, Field(ge=0, le=50)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine", "step"] = "constant"
    lr_drop_epochs: Annotated[tuple[Count, ...], Field(strict=False)] = ()  # schedule: step
    lr_drop_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    train_metrics: Literal["evaluated", "running"] = "evaluated"
    snapshots: Snapshots | None = None
    scores: bool = False  # keep loss, margin and hit of every training example after every epoch
    vary: dict[ItemName, dict[str, Any]] = {}  # name of a point -> the keys in which it differs

    @field_validator("model", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _three_micro_batches(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("aggregation") in ("a3", "m3"):
            if values.get("micro_batches", 3) != 3:
                plain = "mean" if values["aggregation"] == "a3" else "median"
                raise ValueError(
                    f"aggregation '{values['aggregation']}' means 3 micro_batches, found"
                    f" {values['micro_batches']}. Write aggregation: {plain} for another number"
                )
            return {**values, "micro_batches": 3}
        return values

    @model_validator(mode="after")
    def _possible(self) -> "Run":
        if self.batch_size % self.micro_batches:
            raise ValueError(
                f"batch_size {self.batch_size} is not divisible by {self.micro_batches} micro_batches;"
                f" {self.batch_size // self.micro_batches * self.micro_batches or self.micro_batches} is"
            )
        if self.aggregation == "median" and self.micro_batches < 3:
            raise ValueError(f"a median needs at least 3 micro_batches, found {self.micro_batches}")
        if self.aggregation == "winsorized" and self.micro_batches != 1:
            raise ValueError("winsorizing works on single examples: remove micro_batches")
        if self.winsorize_percent and self.aggregation != "winsorized":
            raise ValueError("winsorize_percent needs aggregation: winsorized")
        if (self.schedule == "step") != bool(self.lr_drop_epochs):
            raise ValueError("schedule: step and lr_drop_epochs go together")
        if self.loss_q != 0.7 and self.loss == "cross_entropy":
            raise ValueError("loss_q needs loss: generalized_cross_entropy")
        return self

    @model_validator(mode="after")
    def _points_are_runs(self) -> "Run":
        for name, changes in self.vary.items():
            fixed = sorted({"study", "variant", "seeds", "vary"} & set(changes))
            if fixed:
                raise ValueError(f"vary.{name}: '{fixed[0]}' is the same at every point; write another run")
        try:
            self.points()
        except ValidationError as error:
            raise ValueError(f"vary: {'; '.join(_short(error))}") from error
        return self

    def points(self) -> dict[str, "Run"]:
        """The runs that `vary` stands for, by the names of its points; none for a run that stands alone."""
        values = self.model_dump(exclude={"vary"}, exclude_unset=True)
        return {name: Run.model_validate({**values, **changes}) for name, changes in self.vary.items()}

    @property
    def micro_batch_size(self) -> int:
        """Examples behind one input of the aggregation."""
        return self.batch_size // self.micro_batches

    @property
    def takes_median(self) -> bool:
        """Whether micro-batch gradients are combined by the coordinate-wise median."""
        return self.aggregation in ("median", "m3")


class Fits(Spec):
    """Easy and hard examples fitted one at a time, by plain SGD from the scorers' initial weights (CG-6)."""

    examples: Annotated[int, Field(ge=2)] = 50  # of each kind
    lr: Annotated[float, Field(gt=0)]
    stop_at_loss: Annotated[float, Field(gt=0)] = 0.1  # of the one example
    most_steps: Count = 1000


class Difficulty(Spec):
    """Easy, hard and random examples of a training set, by how the seeds of a run learned them."""

    run: str  # has scores: true; each of its seeds is a scorer
    rule: Literal["thirds", "all_runs", "single_run"] = "thirds"
    checkpoints: Count = 10  # rule: thirds; the first epochs whose hits are averaged
    train_examples: Count  # of each set, all classes alike
    test_examples: Count  # held out of the same training set, of each set
    fits: Fits | None = None


VIEWS = ("easy", "hard", "random", "all")  # of a split: SPLIT.easy and so on stand where a variant can


class Measure(Spec):
    """How the snapshots of a run are measured."""

    examples: Annotated[int, Field(ge=8)] = 500  # m, drawn once per variant and root seed
    splits: Annotated[tuple[Literal["train", "test"], ...], Field(strict=False, min_length=1)] = (
        "train",
        "test",
    )
    estimator: Literal["auto", "exact", "imputed"] = "auto"  # auto: imputed where there is batch norm
    batch_size: Annotated[int, Field(ge=2)] = 20  # k: examples of one batch gradient, when imputed
    partitions: Count = 5  # partitions into batches, averaged by their sums, when imputed
    batch_norm: Literal["train", "eval"] = "train"  # statistics that batch norm uses while measured
    chunk: Count = 100  # examples in one pass, when exact: memory, not results
    subsets: Annotated[tuple[str, ...], Field(strict=False)] = ()  # pristine, corrupt, easy, hard, random
    subset_examples: Annotated[int, Field(ge=8)] | None = None  # m of each subset; None: of the smallest
    sizes: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(strict=False)] = ()  # other m, nested
    pairs: Annotated[int, Field(ge=0)] = 0  # examples whose gradients are compared two by two
    bound: bool = False  # constants of the generalisation bound (Theorem 1)

    @model_validator(mode="after")
    def _possible(self) -> "Measure":
        asked = {
            "subset_examples": self.subset_examples or 0,
            "sizes": max(self.sizes, default=0),
            "pairs": self.pairs,
        }
        for key, number in asked.items():
            if number > self.examples:
                raise ValueError(f"{key} {number} is more than the examples drawn, {self.examples}")
        if self.pairs == 1:
            raise ValueError("pairs 1 is no pair; use 2 or more examples, or 0")
        if self.bound and "train" not in self.splits:
            raise ValueError("bound is of the training examples: add train to splits")
        if self.estimator == "imputed":
            self.check_batches()
        return self

    def check_batches(self) -> None:
        """Raise `ValueError` if there are too few batches to impute from; under `auto`, ask the network."""
        asked = {"examples": self.examples, "subset_examples": self.subset_examples or self.examples}
        asked["sizes"] = min(self.sizes, default=self.examples)
        for key, number in asked.items():
            if number // self.batch_size < 4:
                smaller, larger = f"batch_size {number // 4} or less", f"{4 * self.batch_size} or more"
                raise ValueError(
                    f"{key} {number} give fewer than 4 batches of batch_size {self.batch_size};"
                    f" use {smaller if number >= 8 else larger}"
                )

    def check_single_examples(self, layer: str) -> None:
        """Raise `ValueError` if gradients of single examples are asked for which batch norm couples."""
        for key, wanted in {"pairs": self.pairs > 0, "bound": self.bound}.items():
            if wanted and self.batch_norm == "train":
                raise ValueError(
                    f"{key} needs gradients of single examples, which batch norm (layer '{layer}') couples;"
                    " remove it, or use batch_norm: eval, which measures another function of the weights"
                )


class Params(Spec):
    """The whole file."""

    seed: Annotated[int, Field(ge=0)]
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: Literal["auto"] | Count = "auto"
    threads: Count = 1
    sources: dict[ItemName, Source]
    variants: dict[ItemName, Variant]
    runs: dict[ItemName, Run]
    splits: dict[ItemName, Difficulty] = {}
    measures: dict[ItemName, Measure] = {}
    claims: dict[str, dict[str, str]] = {}

    def variant_of(self, run: Run) -> str:
        """Name of the variant that a run's examples come from, also where it trains on a view of it."""
        split, _, view = run.variant.partition(".")
        return self.runs[self.splits[split].run].variant if view else run.variant

    def split_of(self, run: Run) -> Difficulty:
        """The split whose view a run trains on."""
        return self.splits[run.variant.partition(".")[0]]

    def named_run(self, key: str) -> Run:
        """The run that a claim calls `key`: `RUN`, or `RUN.POINT` of one that varies."""
        name, _, point = key.partition(".")
        return self.runs[name].points()[point] if point else self.runs[name]

    @property
    def run_names(self) -> list[str]:
        """What a claim can call a run: every key, and the points of those that vary."""
        points = [f"{key}.{point}" for key, run in self.runs.items() for point in run.vary]
        return [*self.runs, *points]

    @property
    def views(self) -> list[str]:
        """What the splits make, by the names that stand where a variant can."""
        return [f"{split}.{view}" for split in self.splits for view in VIEWS]


def load_params(path: Path) -> Params:
    """Read and check a params file. Raises `InputError` with one message for all that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text. Save it as UTF-8.") from error
    return parse_params(text, path.name)


def parse_params(text: str, name: str) -> Params:
    """Parse the text of a params file that errors call `name`."""
    try:
        values = yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date of month 13 is a ValueError
        raise InputError(f"{name}: not valid YAML. {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise InputError(f"{name}: expected keys such as 'seed' and 'runs', found {type(values).__name__}.")
    try:
        params = Params.model_validate(values)
    except ValidationError as error:
        raise InputError(describe(error, name, Params)) from error
    check_references(params, name)
    return params


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key written twice, where PyYAML keeps the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                break  # PyYAML says what is wrong with it
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key}' is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
