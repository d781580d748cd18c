"""What the sections of a recipe have in common."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from videogpa.records import MOST_SEED

Positive = Annotated[int, Field(ge=1, le=10**9)]
NonNegative = Annotated[int, Field(ge=0, le=10**9)]
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
Side = Annotated[int, Field(ge=1, le=16_384)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """A section of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def one_of(name: str, table: Any) -> str:
    """Return the name if the table has it.

    Raises:
        ValueError: If it does not; the message lists what there is.
    """
    if name not in table:
        raise ValueError(f"unknown name {name!r}; one of: {', '.join(sorted(table))}")
    return name
