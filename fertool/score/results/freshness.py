"""Stored figures that have to be made again: other faces, masks or weights, another way of scoring, damaged files."""

from pathlib import Path
from typing import Any

from fertool.explain.registry import stored_request
from fertool.runtime.reading import read_json
from fertool.workspace import Run, Workspace

EXPLAINER_REVISION = "explainer_revision"  # among a record's settings, where it is not the first


def is_outdated(workspace: Workspace, run: Run, record: Path, revision: int) -> bool:
    """Whether the figures in `record`, a JSON file, have to be made again.

    So it is where they are of another revision, of files that have changed since, or of another revision of their
    explainer, where the CSV beside the record is missing, and where a file beside it is not the one that was written
    with it. Files that are gone do not count, nor do the run's own predictions and heatmaps: these come from files that
    the record has as well, and differ by their number format alone. Figures without `made_from` were made elsewhere.

    The settings of a call do not count: the report shows figures as they were scored. `ensure_figures` in `stored.py`
    compares them, too, when figures are asked for by `fertool score`.
    """
    content = read_json(record, workspace.remedy(record))
    if not record.with_suffix(".csv").exists() or not _products_are_intact(workspace, record, content):
        return True
    if "made_from" not in content:
        return False
    try:
        return _is_made_otherwise(workspace, run, content["made_from"], revision)
    except (AttributeError, KeyError, TypeError):  # no record that this program writes
        return True


def _is_made_otherwise(workspace: Workspace, run: Run, made_from: dict[str, Any], revision: int) -> bool:
    settings = made_from["settings"]
    if made_from["revision"] != revision:
        return True
    if "explainer" in settings:
        revision_now = stored_request(settings["explainer"]).explainer.revision
        if revision_now and settings.get(EXPLAINER_REVISION, 1) != revision_now:
            return True
    inputs = {workspace.root / name: digest for name, digest in made_from["inputs"].items()}
    return any(
        file.exists() and not _is_own_product(run, file) and workspace.fingerprint(file) != digest
        for file, digest in inputs.items()
    )


def _products_are_intact(workspace: Workspace, record: Path, content: dict[str, Any]) -> bool:
    products = content.get("products", {})
    if not isinstance(products, dict):
        return False
    # figures outlive what was kept for comparisons alone
    there = [path for path in (record.parent / name for name in products) if path.exists()]
    return all(workspace.is_intact(record, path) for path in there)


def _is_own_product(run: Run, file: Path) -> bool:
    has_record = file.suffix in (".npy", ".npz") and file.with_suffix(".json").exists()
    return has_record and file.resolve().is_relative_to(run.results.resolve())
