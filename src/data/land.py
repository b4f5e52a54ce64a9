"""The world's coastline at 1:110 million, to draw maps on (Natural Earth, public domain)."""

import json
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt


@cache
def coastline() -> list[npt.NDArray[np.float64]]:
    """Return the coast as closed lines, each float64 [n, 2] of longitude and latitude in degrees.

    Source: Natural Earth 1:110m land (naturalearthdata.com), public domain.
    """
    text = (files("october.data") / "land_110m.json").read_text(encoding="utf-8")
    return [np.asarray(line, dtype=np.float64) for line in json.loads(text)]
