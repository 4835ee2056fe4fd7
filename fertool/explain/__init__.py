"""Explainers: from a model, faces and target classes to raw heatmaps."""

from fertool.explain.command import explain
from fertool.explain.listing import list_explainers

__all__ = ["explain", "list_explainers"]
