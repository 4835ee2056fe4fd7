"""Explainers: from a model, faces and target classes to raw heatmaps."""

from fertool.explain.command import explain
from fertool.explain.listing import list_explainers
from fertool.explain.settings import ExplainSettings

__all__ = ["ExplainSettings", "explain", "list_explainers"]
