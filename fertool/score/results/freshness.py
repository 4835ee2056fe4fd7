"""Stored figures that would come out otherwise now: by other faces, masks or weights, or by another way of scoring."""

from pathlib import Path

from fertool.explain.registry import parse_request
from fertool.runtime.files import read_json
from fertool.workspace import Run, Workspace

EXPLAINER_REVISION = "explainer_revision"  # among a record's settings, where it is not the first


def is_outdated(workspace: Workspace, run: Run, record: Path, revision: int) -> bool:
    """Whether the figures in `record`, a JSON file, are of another revision or of files that have changed since.

    Files that are gone are not asked for, and predictions and heatmaps of the run's own neither: these come from
    files that the record has as well, and differ by their number format alone. Of figures of heatmaps the
    explainer's revision counts too. Figures without a record were made elsewhere.
    """
    made_from = read_json(record).get("made_from")
    if made_from is None:
        return False
    settings = made_from["settings"]
    if made_from["revision"] != revision:
        return True
    if "explainer" in settings:
        explainer = parse_request(settings["explainer"]).explainer
        if settings.get(EXPLAINER_REVISION, 1) != explainer.revision:
            return True
    return any(
        file.exists() and not _is_own_product(run, file) and workspace.fingerprint(file) != digest
        for file, digest in ((workspace.root / name, digest) for name, digest in made_from["inputs"].items())
    )


def _is_own_product(run: Run, file: Path) -> bool:
    has_record = file.suffix in (".npy", ".npz") and file.with_suffix(".json").exists()
    return has_record and file.resolve().is_relative_to(run.results.resolve())
