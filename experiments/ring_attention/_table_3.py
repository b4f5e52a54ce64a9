"""Table 3 by the analytical model of training memory, beside what the paper measured: nothing is fitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from october.attention.ring_attention.activation_memory import METHODS, Method
from october.attention.ring_attention.interconnect import GIBIBYTE
from october.attention.ring_attention.model_shapes import MODEL_SHAPES
from october.attention.ring_attention.training_memory import max_context, power_of_two_at_most
from october.evaluation import exact_cell
from october.experiments.ring_attention._common import METHOD_LABELS, published_table
from october.reporting import Row, new_figure, save_figure

THOUSAND = 1024  # the published contexts are powers of two of binary thousands


@dataclass(frozen=True)
class Cluster:
    """A row group of Table 3: how many devices share a model, and each one's memory in bytes."""

    num_devices: int
    memory_bytes: int


CLUSTERS: Mapping[str, Cluster] = MappingProxyType(
    {
        "8x A100 NVLink": Cluster(8, 80 * GIBIBYTE),
        "32x A100 InfiniBand": Cluster(32, 80 * GIBIBYTE),
        "TPUv3-512": Cluster(512, 16 * GIBIBYTE),
        "TPUv4-1024": Cluster(512, 32 * GIBIBYTE),
        "TPUv5e-256": Cluster(256, 16 * GIBIBYTE),
    }
)
"""A TPU's name counts cores. The two of a v4 work as one device, so that 1,024 cores are 512 devices of 32 GB; each of
a v3 is a device of its own with 16 GB, as in Table 2; a v5e has one."""


@dataclass(frozen=True)
class Comparison:
    """A cell of Table 3: contexts in binary thousands of tokens, and their ratio."""

    cluster: str
    model: str
    method: Method
    predicted: int
    published: int

    @property
    def ratio(self) -> float:
        """Predicted over published."""
        return self.predicted / self.published


def comparisons() -> list[Comparison]:
    """Return every cell of Table 3 as the model predicts it, beside the published one."""
    return [
        Comparison(
            cluster, model, method, predicted(cluster, model, method), int(row.cells[METHOD_LABELS[method]] or 0)
        )
        for row in published_table("max_context").rows
        for cluster, _, model in [row.name.rpartition(" ")]
        for method in METHODS
    ]


def predicted(cluster: str, model: str, method: Method) -> int:
    """Return the longest context of the model, in binary thousands of tokens and rounded down to a power of two."""
    devices = CLUSTERS[cluster]
    tokens = max_context(method, MODEL_SHAPES[model], devices.num_devices, devices.memory_bytes)
    return power_of_two_at_most(tokens // THOUSAND)


def model_rows(cells: Sequence[Comparison]) -> list[Row]:
    """Return a row for each of Table 3's, with the ratio to the published cell after each method's context."""
    rows = {}
    for cell in cells:
        name = f"{cell.cluster} {cell.model}"
        row = rows.setdefault(name, Row(name=f"{name}, by the model", cells={}, published=name))
        row.cells[METHOD_LABELS[cell.method]] = exact_cell(cell.predicted)
        row.cells[f"{METHOD_LABELS[cell.method]}, over published"] = exact_cell(cell.ratio)
    return list(rows.values())


def draw_comparison(folder: Path, cells: Sequence[Comparison]) -> Path:
    """Draw predicted against published contexts, a colour for each method, with the line where they agree."""
    figure, (axes,) = new_figure(width=5.6, height=5.0)
    for method in METHODS:
        own = [cell for cell in cells if cell.method == method]
        published, ours = [cell.published for cell in own], [cell.predicted for cell in own]
        axes.scatter(published, ours, s=28, alpha=0.8, label=METHOD_LABELS[method])
    ends = [min(cell.published for cell in cells), max(cell.predicted for cell in cells)]
    axes.plot(ends, ends, color="0.6", linewidth=1, label="equal")
    axes.set(xscale="log", yscale="log", xlabel="published (thousand tokens)", ylabel="by the analytical model")
    axes.legend()
    return save_figure(figure, folder, "table_3")
