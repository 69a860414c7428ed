"""`params.yaml` as typed, frozen models.

Every model forbids unknown keys and every value has its range here, once. `load_params` turns whatever is
wrong into one `InputError` that names the file and the key.
"""

from pipeline.config.batch_norm_biases import BatchNormBiases
from pipeline.config.data import NATIVE_SIZE, Glyphs, Source, Variant
from pipeline.config.file import Params, load_params, parse_params
from pipeline.config.learning import FirstTerm, Learning, Regression, Shallow, Weights
from pipeline.config.matrix_dynamics import MatrixDynamics
from pipeline.config.measuring import Measure
from pipeline.config.osgr import Osgr, OsgrGrid, OsgrToy
from pipeline.config.splits import Difficulty, Fits
from pipeline.config.studies import ITEM_STUDIES
from pipeline.config.teacher_student import Lucky, Students, TeacherStudent, TrainedTeacher
from pipeline.config.training import Model, Run, Snapshots

__all__ = [
    "ITEM_STUDIES",
    "NATIVE_SIZE",
    "BatchNormBiases",
    "Difficulty",
    "FirstTerm",
    "Fits",
    "Glyphs",
    "Learning",
    "Lucky",
    "MatrixDynamics",
    "Measure",
    "Model",
    "Osgr",
    "OsgrGrid",
    "OsgrToy",
    "Params",
    "Regression",
    "Run",
    "Shallow",
    "Snapshots",
    "Source",
    "Students",
    "TeacherStudent",
    "TrainedTeacher",
    "Variant",
    "Weights",
    "load_params",
    "parse_params",
]
