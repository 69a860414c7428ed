"""Studies whose items stand in params: section, stage and folder under data/studies have one name.

A new one needs a line here, a field of `Params`, a stage in `pipeline/__main__.py` and dvc.yaml (with a line
in its `vars`, so that params may leave the section out), and claims whose `Needs` name it.
"""

ITEM_STUDIES = (
    "osgr",
    "osgr_toy",
    "regression",
    "learning",
    "matrix_dynamics",
    "batch_norm_biases",
    "teacher_student",
    "trained_teacher",
)
