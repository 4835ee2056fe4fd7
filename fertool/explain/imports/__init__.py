"""Maps and predictions that were made elsewhere, brought into a run."""

from fertool.explain.imports.command import ImportSettings, import_results, settings_of_import

__all__ = ["ImportSettings", "import_results", "settings_of_import"]
