"""The workspace: one folder on disk, plain formats. This module alone knows where things lie in it.

Every product carries a `made_from` record (content hashes of its inputs, its settings, the revision of the
algorithm that made it): a stage compares it with what it would use now, skips what is up to date and redoes
what is not.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fertool.errors import UserError
from fertool.runtime.files import file_sha256, read_csv, read_json, write_json
from fertool.runtime.locks import lock

SPLITS = ("train", "val", "test")
WORKSPACE_VARIABLE = "FERTOOL_WORKSPACE"
DEFAULT_WORKSPACE = Path("data")

_FINGERPRINTS: dict[str, list[Any]] = {}  # of this process: size, time of change, SHA-256


class Run:
    """The folder of one training with one seed."""

    def __init__(self, folder: Path, results: Path | None = None) -> None:
        """`results` is where predictions, heatmaps and scores go: the run's folder, unless it is told."""
        self.folder = folder
        self.results = results or folder
        self.name = folder.name

    def on(self, other: "Workspace") -> "Run":
        """The run as it does on the faces of another workspace: its results have a place of their own."""
        root = other.root.resolve()
        # folders of the same name are different faces
        digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
        return Run(self.folder, self.folder / "on" / f"{root.name}-{digest}")

    @property
    def run_json(self) -> Path:
        """The configuration, its condition, versions, hardware and state."""
        return self.folder / "run.json"

    @property
    def history_csv(self) -> Path:
        """A row an epoch."""
        return self.folder / "history.csv"

    @property
    def timing_csv(self) -> Path:
        """Seconds and rates, kept apart from everything that a rerun reproduces."""
        return self.folder / "timing.csv"

    @property
    def best(self) -> Path:
        """Weights of the best epoch."""
        return self.folder / "best.safetensors"

    @property
    def last(self) -> Path:
        """Everything that a resumed training needs."""
        return self.folder / "last.pt"

    def predictions(self, split: str, tta: str | None = None) -> Path:
        """Logits and labels of a split; with test-time augmentation in a file of its own."""
        return self.results / "predictions" / (f"{split}.npz" if tta is None else f"{split}.{tta}.npz")

    def heatmaps(self, explainer: str, target: str, split: str) -> Path:
        """Raw heatmaps; `explainer` with its options, as `gradcam` or `rollout@discard=0.9`."""
        return self.results / "heatmaps" / explainer / target / f"{split}.npy"

    def branch_shares(self, explainer: str, target: str, split: str) -> Path:
        """Of a model of several views, each one's share of the heatmap's mass, float32 (N, views)."""
        return self.heatmaps(explainer, target, split).with_suffix(".branches.npy")

    def scores(
        self,
        suite: str,
        split: str,
        explainer: str | None = None,
        target: str | None = None,
        grid: int | None = None,
    ) -> Path:
        """The JSON of a suite's figures; the CSV with a row an image lies beside it.

        Those of maps that were brought to a common `grid` lie apart: they are other figures.
        """
        folder = self.results / "scores" / suite
        if explainer is not None and target is not None:
            folder = folder / explainer / target
        return folder / (f"{split}.json" if grid is None else f"{split}.grid{grid}.json")

    def scored(self, suite: str, pattern: str) -> list[Path]:
        """The JSON files of a suite that are there and fit a pattern below its folder."""
        return sorted((self.results / "scores" / suite).glob(pattern))

    def config(self) -> dict[str, Any]:
        """The content of run.json. Raises UserError where there is none."""
        if not self.run_json.exists():
            raise UserError(f"{self.folder}: no such run; 'fertool train' makes one")
        return read_json(self.run_json)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process. Raises UserError where another process holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as handle:
            if not lock(handle):
                raise UserError(
                    f"{self.folder}: another process is training this run; wait for it or give --name"
                )
            for left_by_a_kill in self.folder.glob(".*.tmp"):
                left_by_a_kill.unlink()
            yield


class Workspace:
    """Where everything lies. Nothing is created before it is written to."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    @classmethod
    def locate(cls, option: Path | None = None) -> "Workspace":
        """The workspace of `--workspace`, else of the variable FERTOOL_WORKSPACE, else `./data`."""
        return cls(option or os.environ.get(WORKSPACE_VARIABLE) or DEFAULT_WORKSPACE)

    @property
    def dataset_json(self) -> Path:
        """The manifest of the prepared faces."""
        return self.root / "dataset.json"

    def faces(self, split: str) -> Path:
        """Pixels, uint8 (N, H, W) or (N, H, W, 3)."""
        return self.root / "faces" / f"{split}.npy"

    def faces_csv(self, split: str) -> Path:
        """A row a face: row, id, label, source, twin_group, and the crowd's votes where there are any."""
        return self.root / "faces" / f"{split}.csv"

    def truth(self, split: str) -> Path:
        """What is known of drawn faces: landmarks, region maps."""
        return self.root / "faces" / f"{split}.truth.npz"

    def region_maps(self, split: str) -> Path:
        """Region codes, uint8 (N, H, W)."""
        return self.root / "masks" / f"{split}.npy"

    def landmarks(self, split: str) -> Path:
        """Landmarks, outline, detector, confidence and face box of each face."""
        return self.root / "masks" / f"{split}.npz"

    @property
    def masks_json(self) -> Path:
        """Detectors and settings used, and how many faces each found."""
        return self.root / "masks" / "masks.json"

    def run(self, name: str) -> Run:
        """The run of that name, there or not. Raises UserError for what is no name of a folder in `runs`."""
        if name in ("", ".", "..") or Path(name).name != name:
            raise UserError(f"'{name}': no name of a run, which is one folder's; leave out slashes")
        return Run(self.root / "runs" / name)

    def runs(self) -> list[Run]:
        """All runs that have a run.json, by name."""
        return [Run(path.parent) for path in sorted((self.root / "runs").glob("*/run.json"))]

    @property
    def report(self) -> Path:
        """The report's page."""
        return self.root / "report" / "index.html"

    # --- what is there ----------------------------------------------------------------------------------

    def dataset(self) -> dict[str, Any]:
        """The content of dataset.json. Raises UserError where nothing is prepared."""
        if not self.dataset_json.exists():
            raise UserError(f"{self.root}: no faces here; run 'fertool prepare SOURCE' first")
        return read_json(self.dataset_json)

    def check_split(self, split: str) -> None:
        """Raise UserError where there is no such split."""
        splits = self.dataset()["splits"]
        if split not in splits:
            raise UserError(f"{self.root}: no split '{split}' here; there are {', '.join(splits)}")

    def load_faces(self, split: str) -> np.ndarray:
        """The faces of a split, memory-mapped. Raises UserError where the split is unknown."""
        self.check_split(split)
        return np.load(self.faces(split), mmap_mode="r")

    def load_labels(self, split: str, classes: Sequence[str] | None = None) -> np.ndarray:
        """The labels of a split, int64 (N,): codes of `classes`, by default the data set's own.

        Raises UserError where the data set has a class that is none of `classes`.
        """
        labels = np.array([int(row["label"]) for row in read_csv(self.faces_csv(split))], dtype=np.int64)
        own = self.dataset()["classes"]
        if classes is None or list(classes) == own:
            return labels
        unknown = [name for name in own if name not in classes]
        if unknown:
            raise UserError(
                f"{self.root}: the run knows no class '{unknown[0]}', only {', '.join(classes)}; prepare these "
                "faces again with --classes"
            )
        return np.array([classes.index(name) for name in own])[labels]

    def load_votes(self, split: str) -> np.ndarray | None:
        """The crowd's votes on the faces of a split, int64 (N, answers), in the table's order; None without."""
        rows = read_csv(self.faces_csv(split))
        columns = [name for name in rows[0] if name.startswith("votes_")]
        return np.array([[int(row[name]) for name in columns] for row in rows]) if columns else None

    def load_twin_groups(self, split: str) -> np.ndarray:
        """The twin group of each face of a split, int64 (N,); -1 for a face without a twin."""
        rows = read_csv(self.faces_csv(split))
        return np.array([int(row["twin_group"]) if row["twin_group"] else -1 for row in rows], dtype=np.int64)

    def load_region_maps(self, split: str) -> np.ndarray:
        """The region maps of a split, memory-mapped. Raises UserError where masks are not made yet."""
        if not self.region_maps(split).exists():
            raise UserError(f"{self.root}: no region maps for '{split}'; run 'fertool masks' first")
        made_for = read_json(self.masks_json)["made_from"]["inputs"]
        faces = self.faces(split)
        if made_for.get(os.path.relpath(faces, self.root)) != self.fingerprint(faces):
            raise UserError(f"{self.root}: the region maps are of other faces; run 'fertool masks' again")
        return np.load(self.region_maps(split), mmap_mode="r")

    def load_boxes(self, split: str) -> np.ndarray:
        """The box of each face's landmarks: left, top, right, bottom in pixels, float32 (N, 4).

        Raises UserError where masks are not made yet, or of other faces.
        """
        self.load_region_maps(split)
        with np.load(self.landmarks(split)) as stored:
            return stored["box"]

    # --- what a product was made from -------------------------------------------------------------------

    def fingerprint(self, path: Path) -> str:
        """SHA-256 of a file's content, cached by its size and time of change."""
        key = str(path.resolve())
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        if key in _FINGERPRINTS and _FINGERPRINTS[key][:2] == stamp:
            return _FINGERPRINTS[key][2]
        cache_file = self.root / ".fingerprints.json"
        try:
            cache = json.loads(cache_file.read_text())
        except (OSError, ValueError):
            cache = {}
        if key in cache and cache[key][:2] == stamp:
            _FINGERPRINTS[key] = cache[key]
            return cache[key][2]
        digest = file_sha256(path)
        _FINGERPRINTS[key] = [*stamp, digest]
        with contextlib.suppress(OSError):  # a workspace that is only read has no cache
            if self.root.exists():
                write_json(cache_file, {**cache, key: [*stamp, digest]})
        return digest

    def made_from(self, revision: int, settings: Mapping[str, Any], inputs: Iterable[Path]) -> dict[str, Any]:
        """The record that a product carries: algorithm revision, settings, inputs with their hashes."""
        hashes = {os.path.relpath(path, self.root): self.fingerprint(path) for path in inputs}
        return json.loads(json.dumps({"revision": revision, "settings": settings, "inputs": hashes}))

    @staticmethod
    def is_current(record: Path, made_from: Mapping[str, Any], products: Iterable[Path] = ()) -> bool:
        """Whether `record`, a JSON file, says that it was made from just this, and its products are there."""
        try:
            recorded = json.loads(record.read_text()).get("made_from")
        except (OSError, ValueError):
            return False
        return recorded == made_from and all(product.exists() for product in products)
