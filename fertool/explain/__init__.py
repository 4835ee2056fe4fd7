"""Explainers: from a model, faces and target classes to raw heatmaps."""

from fertool.explain.command import explain
from fertool.explain.imports import ImportSettings, import_results
from fertool.explain.listing import list_explainers
from fertool.explain.methods.own import rules
from fertool.explain.settings import ExplainSettings

__all__ = ["ExplainSettings", "ImportSettings", "explain", "import_results", "list_explainers", "rules"]
