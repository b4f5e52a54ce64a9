"""What a network represents inside: activations of its layers, and probes that read places, times … from them.

Shared by the papers on representations; it knows none of them.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from .activations import Activations, cached_activations, extract
    from .controls import NGramControl, name_vectorizer, nearest_neighbour
    from .layers import LayerScore, best_layer, fit_layer, probe_every_layer
    from .metrics import all_metrics, haversine_km, proximity_error, r2, spearman
    from .mlp import MLPProbe
    from .principal_components import PrincipalComponents, component_predictions
    from .prompt_tokens import text_spans
    from .ridge import RidgeProbe
    from .splits import Split, block_splits, cross_type_split, random_split
    from .unseen_groups import group_folds, predictions_without_own_group

__all__ = [
    "Activations",
    "LayerScore",
    "MLPProbe",
    "NGramControl",
    "PrincipalComponents",
    "RidgeProbe",
    "Split",
    "all_metrics",
    "best_layer",
    "block_splits",
    "cached_activations",
    "component_predictions",
    "cross_type_split",
    "extract",
    "fit_layer",
    "group_folds",
    "haversine_km",
    "name_vectorizer",
    "nearest_neighbour",
    "predictions_without_own_group",
    "probe_every_layer",
    "proximity_error",
    "r2",
    "random_split",
    "spearman",
    "text_spans",
]

_HOMES = {
    "Activations": "activations",
    "LayerScore": "layers",
    "MLPProbe": "mlp",
    "NGramControl": "controls",
    "PrincipalComponents": "principal_components",
    "RidgeProbe": "ridge",
    "Split": "splits",
    "all_metrics": "metrics",
    "best_layer": "layers",
    "block_splits": "splits",
    "cached_activations": "activations",
    "component_predictions": "principal_components",
    "cross_type_split": "splits",
    "extract": "activations",
    "fit_layer": "layers",
    "group_folds": "unseen_groups",
    "haversine_km": "metrics",
    "name_vectorizer": "controls",
    "nearest_neighbour": "controls",
    "predictions_without_own_group": "unseen_groups",
    "probe_every_layer": "layers",
    "proximity_error": "metrics",
    "r2": "metrics",
    "random_split": "splits",
    "spearman": "metrics",
    "text_spans": "prompt_tokens",
}

__getattr__ = lazy_exports(__name__, _HOMES)
