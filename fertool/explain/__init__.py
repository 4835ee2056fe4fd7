"""Explainers: from a model, faces and target classes to raw heatmaps."""

from fertool.explain.explain import explain

__all__ = ["explain"]
