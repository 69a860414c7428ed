"""The whole of `params.yaml`, and the only place that reads it."""

from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from pipeline.config.base import Count, ItemName, Spec
from pipeline.config.batch_norm_biases import BatchNormBiases
from pipeline.config.data import Source, Variant
from pipeline.config.errors import describe
from pipeline.config.learning import Learning, Regression
from pipeline.config.matrix_dynamics import MatrixDynamics
from pipeline.config.measuring import Measure
from pipeline.config.osgr import Osgr, OsgrToy
from pipeline.config.references import check_references
from pipeline.config.splits import VIEWS, Difficulty
from pipeline.config.studies import ITEM_STUDIES
from pipeline.config.teacher_student import TeacherStudent, TrainedTeacher
from pipeline.config.training import Run
from pipeline.errors import InputError


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
    osgr: dict[ItemName, Osgr] = {}
    regression: dict[ItemName, Regression] = {}
    learning: dict[ItemName, Learning] = {}
    osgr_toy: dict[ItemName, OsgrToy] = {}
    matrix_dynamics: dict[ItemName, MatrixDynamics] = {}
    batch_norm_biases: dict[ItemName, BatchNormBiases] = {}
    teacher_student: dict[ItemName, TeacherStudent] = {}
    trained_teacher: dict[ItemName, TrainedTeacher] = {}
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

    def items_of(self, study: str) -> dict[str, Spec]:
        """The items of one of the `ITEM_STUDIES`, by their keys."""
        return getattr(self, study)

    def networks_of(self, item: Spec) -> int:
        """How many networks an item of a study looks at: the seeds of the run that it names, else one."""
        run = getattr(item, "run", None)
        return self.named_run(run).seeds if run is not None else 1

    @property
    def run_names(self) -> list[str]:
        """What a claim can call a run: every key, and the points of those that vary."""
        points = [f"{key}.{point}" for key, run in self.runs.items() for point in run.vary]
        return [*self.runs, *points]

    @property
    def studies(self) -> dict[str, dict[str, Spec]]:
        """The items of every study that takes its items from here, by study and key."""
        return {study: self.items_of(study) for study in ITEM_STUDIES}

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


# In C where there is libyaml: every stage reads the file, and Python takes ten times as long.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Loader):
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
