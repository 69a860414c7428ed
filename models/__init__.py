"""Network definitions and the one builder that makes them for any image size and number of classes.

Import neither stages nor MLflow nor params: `models` works alone in a notebook, beside `pipeline.gradients`.
"""

from models.builder import NAMES, build, check
from models.errors import ModelError

__all__ = ["NAMES", "ModelError", "build", "check"]
