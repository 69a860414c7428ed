"""Tables of studies: what is written is what is read."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.claims.reading import StudyRecord
from pipeline.errors import InputError
from pipeline.studies.tables import write_rows


@dataclass(frozen=True)
class Row:
    name: str
    count: int
    value: float
    valid: bool


ROWS = st.builds(
    Row,
    # Any text but line ends, which no name of ours has and CSV does not keep apart.
    name=st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=5),
    count=st.integers(),
    value=st.floats(allow_nan=False),
    valid=st.booleans(),
)


@given(rows=st.lists(ROWS, max_size=4))
def test_rows_come_back_as_they_were_to_the_last_bit(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("study")
    write_rows(folder / "table.csv", Row, rows)
    assert StudyRecord("made-up", folder).rows("table.csv", Row) == tuple(rows)


@pytest.mark.parametrize("line", ["a,1,0.5,maybe", "a,1.5,0.5,True", "a,1,x,True"])
def test_text_of_another_type_is_refused(tmp_path: Path, line):
    (tmp_path / "table.csv").write_text(f"name,count,value,valid\n{line}\n")
    with pytest.raises(InputError, match=r"table\.csv, line 2: .* Run `python -m pipeline made-up`"):
        StudyRecord("made-up", tmp_path).rows("table.csv", Row)


def test_a_table_is_read_once(tmp_path: Path):
    write_rows(tmp_path / "table.csv", Row, [Row("a", 1, 0.5, True)])
    record = StudyRecord("made-up", tmp_path)
    first = record.rows("table.csv", Row)
    (tmp_path / "table.csv").unlink()
    assert record.rows("table.csv", Row) is first
