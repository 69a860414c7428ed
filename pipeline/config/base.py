"""What every model of `params.yaml` is made of: the strict base, and ranges that have a name."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
ItemName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class Spec(BaseModel):
    """The base of every model here: frozen, no silent conversions, no unknown keys, no infinite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
