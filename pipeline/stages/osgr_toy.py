"""The stage `osgr_toy`: one-step generalisation ratios on the toy regression, which makes its own data."""

from pipeline.config import Params
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.stages.osgr import measure_item
from pipeline.studies.osgr.tables import TOY


def run(layout: Layout, params: Params, item: str) -> None:
    """Write `data/studies/osgr_toy/ITEM`."""
    with item_lock(layout, TOY, item):
        measure_item(layout, params, TOY, item, None, {})
