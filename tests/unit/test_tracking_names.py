"""Names, tokens and addresses as the tracking writes them."""

import re

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from pipeline.tracking.mirror import metric_name
from pipeline.tracking.store import without_password


@given(st.text())
def test_mlflow_takes_every_metric_name_as_it_is_written(name: str) -> None:
    _validate_metric_name(metric_name(name))  # raises for a name it refuses


@given(st.from_regex(r"[a-z0-9_]+(/[a-z0-9_. -]*[a-z0-9])*", fullmatch=True))
def test_a_name_that_is_allowed_stays(name: str) -> None:
    assert metric_name(name) == name[:250]


def test_a_password_is_taken_out_of_an_address_and_the_rest_stays() -> None:
    text = "cannot reach postgresql://me:secret@db:5432/mlflow and http://host/a@b"
    assert without_password(text) == "cannot reach postgresql://db:5432/mlflow and http://host/a@b"
    assert re.search("secret", text)  # the control: it was there
