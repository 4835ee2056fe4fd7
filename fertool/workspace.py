"""The workspace: one folder on disk, plain formats. This module alone knows where things lie in it.

Every product carries a `made_from` record (content hashes of its inputs, its settings, the revision of the
algorithm that made it): a stage compares it with what it would use now, skips what is up to date and redoes
what is not. Beside it stands `products`, the size and hash of every file that the record describes, and the record's
hash of itself (`write_record`): a file that was changed or damaged afterwards is made again or refused, never read.
Records of earlier versions have neither.

Hashes are computed from the content by every command. A file above WHOLE_BYTES is read in SAMPLED_BLOCKS alone where
its size and time of change are those of the cache, which holds the hashes of both: `report --check` reads it whole.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fertool.errors import DamagedError, UserError
from fertool.runtime.added_columns import header_of, without_added_columns
from fertool.runtime.files import file_sha256, open_lock, write_json
from fertool.runtime.locks import lock
from fertool.runtime.progress import log
from fertool.runtime.reading import csv_column, damaged, read_csv, read_json, read_npy, read_npz

SPLITS = ("train", "val", "test")
WORKSPACE_VARIABLE = "FERTOOL_WORKSPACE"
DEFAULT_WORKSPACE = Path("data")

WHOLE_BYTES = 64_000_000
SAMPLED_BLOCKS = 64  # of BLOCK_BYTES, evenly spread, the first and the last among them
BLOCK_BYTES = 1 << 16

# what the records hold that other commands read
DATASET_KEYS = {"name": str, "classes": list[str], "splits": dict, "made_from": dict}
MASKS_KEYS = {"found": dict, "agreement": object, "settings": dict, "made_from": dict}
RUN_KEYS = {"name": str, "model": str, "config": dict, "classes": list[str], "state": str, "made_from": dict}

# of this process: size and time of change of a file; the size and SHA-256 of its content without added columns
_FINGERPRINTS: dict[str, tuple[list[int], tuple[int, str]]] = {}


@dataclass(frozen=True)
class StoredScores:
    """Figures of a suite that a run has on disk."""

    suite: str
    explainer: str | None  # with its options, as `rollout@discard=0.9`; None for a suite without heatmaps
    target: str | None  # None for a suite without heatmaps
    grid: int | None  # cells a side of the common grid; None for each map's own
    path: Path  # the JSON; the CSV with a row a face lies beside it


class Run:
    """The folder of one training with one seed."""

    def __init__(self, folder: Path, results: Path | None = None) -> None:
        """`results` is the folder of predictions, heatmaps and scores; None: the run's own."""
        self.folder = folder
        self.results = results or folder
        self.name = folder.name

    def on(self, other: "Workspace") -> "Run":
        """The run with its results on the faces of another workspace, which lie in a folder of their own."""
        root = other.root.resolve()
        # folders of the same name are different faces
        digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
        return Run(self.folder, self.folder / "on" / f"{root.name}-{digest}")

    @property
    def trained_in(self) -> "Workspace":
        """The workspace whose faces it was trained on."""
        return Workspace(self.folder.parent.parent)

    @property
    def run_json(self) -> Path:
        """The configuration, its condition, versions, hardware and state."""
        return self.folder / "run.json"

    @property
    def history_csv(self) -> Path:
        """A row per epoch."""
        return self.folder / "history.csv"

    @property
    def timing_csv(self) -> Path:
        """Seconds and rates, kept apart from everything that a rerun reproduces."""
        return self.folder / "timing.csv"

    def minutes(self) -> str:
        """The minutes of the training, as tables show them; a dash where they are not whole: no figure needs them."""
        try:
            rows = read_csv(self.timing_csv, columns=["epoch_s"])
            seconds = csv_column(self.timing_csv, rows, "epoch_s", float)
        except DamagedError:
            return "-"
        return f"{sum(seconds) / 60:.1f}" if seconds else "-"

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

    def number_format(self, split: str) -> Path:
        """How far bfloat16 moves what is computed on changed faces of a split."""
        return self.results / "scores" / f"bfloat16.{split}.json"

    def heatmaps(self, explainer: str, target: str, split: str, sample: str | None = None) -> Path:
        """Raw heatmaps; `explainer` with its options, as `gradcam` or `rollout@discard=0.9`.

        `sample` is the name of the sample of the split's faces that the maps are of; None for all faces.
        """
        return (
            self.results
            / "heatmaps"
            / explainer
            / target
            / ".".join([split, *([sample] if sample else []), "npy"])
        )

    def has_heatmaps(self, explainer: str) -> bool:
        """Whether there are maps of an explainer, of any target and split."""
        return any((self.results / "heatmaps" / explainer).glob("*/*.npy"))

    def branch_shares(self, explainer: str, target: str, split: str, sample: str | None = None) -> Path:
        """The share of each view of a multi-scale model in the heatmap's mass, float32 (N, views)."""
        return self.heatmaps(explainer, target, split, sample).with_suffix(".branches.npy")

    def scores(
        self,
        suite: str,
        split: str,
        explainer: str | None = None,
        target: str | None = None,
        grid: int | None = None,
    ) -> Path:
        """The JSON of a suite's figures; the CSV with a row per face lies beside it.

        Args:
            suite: name of the suite.
            split: train, val or test.
            explainer: key of the explainer, for a suite that scores maps. Default: None.
            target: the class that is explained, for a suite that scores maps. Default: None.
            grid: cells a side of the common grid that maps were brought to; such figures lie apart. Default: None.
        """
        folder = self.results / "scores" / suite
        if explainer is not None and target is not None:
            folder = folder / explainer / target
        return folder / (f"{split}.json" if grid is None else f"{split}.grid{grid}.json")

    def stored_scores(self, split: str) -> list[StoredScores]:
        """The figures that the run has on disk for a split, by their path: no file is read."""
        folder = self.results / "scores"
        name = re.compile(rf"{re.escape(split)}(?:\.grid(\d+))?\.json")
        stored = []
        for path in sorted([*folder.glob("*/*.json"), *folder.glob("*/*/*/*.json")]):
            suite, *explained = path.relative_to(folder).parent.parts
            if found := name.fullmatch(path.name):
                explainer, target = explained or (None, None)
                stored.append(
                    StoredScores(suite, explainer, target, int(found[1]) if found[1] else None, path)
                )
        return stored

    def config(self) -> dict[str, Any]:
        """The content of run.json. Raises UserError where there is none."""
        if not self.run_json.exists():
            raise UserError(f"{self.folder}: no such run; 'fertool train' makes one")
        remedy = f"run 'fertool train --name {self.name} --force' to make it again"
        return read_json(self.run_json, remedy, RUN_KEYS)

    @contextlib.contextmanager
    def locked(self) -> Generator[None]:
        """Hold the run for this process. Raises UserError where another process holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open_lock(self.folder / ".lock") as handle:
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
        """A row per face: row, id, label, source, twin_group, the crowd's votes and the source's columns, if any."""
        return self.root / "faces" / f"{split}.csv"

    def truth(self, split: str) -> Path:
        """The truth about synthetic faces: landmarks, region maps."""
        return self.root / "faces" / f"{split}.truth.npz"

    @property
    def near_twins(self) -> Path:
        """The faces that have a near or identical twin, of all splits: split, row, near_group; none: not looked for."""
        return self.root / "faces" / "near_twins.csv"

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
        return self.report_file("index.html")

    def report_file(self, name: str) -> Path:
        """A file of the report: the page, what a paper takes from it (`tables/NAME.csv`), the list of them all."""
        return self.root / "report" / name

    def stored_files(self) -> list[Path]:
        """Every file of the workspace but hidden ones, and those of a stage that is not finished (`.partial`)."""
        return [
            path
            for path in self.root.rglob("*")
            if path.is_file()
            and not any(
                part.startswith(".") or part.endswith(".partial")
                for part in path.relative_to(self.root).parts
            )
        ]

    # --- what is there ----------------------------------------------------------------------------------

    def dataset(self) -> dict[str, Any]:
        """The content of dataset.json. Raises UserError where nothing is prepared."""
        if not self.dataset_json.exists():
            raise UserError(f"{self.root}: no faces here; run 'fertool prepare SOURCE' first")
        return read_json(self.dataset_json, self.remedy(self.dataset_json), DATASET_KEYS)

    def masks_record(self) -> dict[str, Any]:
        """The content of masks.json. Raises DamagedError where there is none."""
        return read_json(self.masks_json, self.remedy(self.masks_json), MASKS_KEYS)

    def check_split(self, split: str) -> None:
        """Raise UserError where there is no such split."""
        splits = self.dataset()["splits"]
        if split not in splits:
            raise UserError(f"{self.root}: no split '{split}' here; there are {', '.join(splits)}")

    def load_faces(self, split: str) -> np.ndarray:
        """The faces of a split, memory-mapped. Raises UserError where the split is unknown, or its file damaged."""
        self.check_split(split)
        self.require_intact(self.dataset_json, self.faces(split))
        return read_npy(self.faces(split), self.remedy(self.faces(split)), kinds="u")

    def _face_shape(self, split: str) -> tuple[int, ...]:
        """The number, height and width of the faces of a split."""
        return read_npy(self.faces(split), self.remedy(self.faces(split))).shape[:3]

    def load_face_rows(self, split: str, columns: Iterable[str] = ()) -> list[dict[str, str]]:
        """The table of a split, a row per face. Raises UserError where it is damaged or lacks one of `columns`."""
        path = self.faces_csv(split)
        self.check_split(split)
        self.require_intact(self.dataset_json, path)
        return read_csv(path, self.remedy(path), columns, rows=self._face_shape(split)[0])

    def load_labels(self, split: str, classes: Sequence[str] | None = None) -> np.ndarray:
        """The labels of a split, int64 (N,): codes of `classes`, by default the data set's own.

        Raises UserError where the data set has a class that is none of `classes`.
        """
        path, own = self.faces_csv(split), self.dataset()["classes"]
        rows = self.load_face_rows(split, ["label"])
        labels = np.array(csv_column(path, rows, "label", int, self.remedy(path)), dtype=np.int64)
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(own)):
            raise damaged(path, f"has a label outside 0 to {len(own) - 1}", self.remedy(path))
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
        path, rows = self.faces_csv(split), self.load_face_rows(split)
        columns = [name for name in (rows[0] if rows else {}) if name.startswith("votes_")]
        votes = [csv_column(path, rows, name, int, self.remedy(path)) for name in columns]
        return np.array(votes, dtype=np.int64).T if columns else None

    def load_twin_groups(self, split: str) -> np.ndarray:
        """The twin group of each face of a split, int64 (N,); -1 for a face without a twin."""
        path, rows = self.faces_csv(split), self.load_face_rows(split, ["twin_group"])
        groups = csv_column(
            path, rows, "twin_group", lambda text: int(text) if text else -1, self.remedy(path)
        )
        return np.array(groups, dtype=np.int64)

    def load_near_twin_groups(self, split: str) -> np.ndarray | None:
        """The group of near or identical twins of each face of a split, int64 (N,); -1 for a face without one.

        None where near twins were not looked for: in synthetic faces, and by earlier versions.
        """
        self.check_split(split)
        path = self.near_twins
        if not self.holds(path):
            return None
        self.require_intact(self.dataset_json, path)
        remedy = self.remedy(path)
        rows = [
            row for row in read_csv(path, remedy, ["split", "row", "near_group"]) if row["split"] == split
        ]
        groups = np.full(self._face_shape(split)[0], -1, np.int64)
        place = np.array(csv_column(path, rows, "row", int, remedy), np.int64)
        if len(place) and not (place.min() >= 0 and place.max() < len(groups)):
            raise damaged(path, f"has a row outside 0 to {len(groups) - 1}", remedy)
        groups[place] = csv_column(path, rows, "near_group", int, remedy)
        return groups

    def load_truth(self, split: str) -> dict[str, np.ndarray]:
        """The truth about synthetic faces, by name. Raises UserError where the file is damaged."""
        path = self.truth(split)
        self.require_intact(self.dataset_json, path)
        return read_npz(path, self.remedy(path))

    def load_region_maps(self, split: str) -> np.ndarray:
        """The region maps of a split, memory-mapped. Raises UserError where masks are not made yet, or damaged."""
        path = self.region_maps(split)
        self._require_masks(split)
        self.require_intact(self.masks_json, path)
        return read_npy(path, self.remedy(path), shape=self._face_shape(split), kinds="u")

    def load_landmarks(self, split: str, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """The arrays of masks/<split>.npz: landmarks, outline, detector, confidence, box; or only those of `names`.

        Raises UserError where masks are not made yet, of other faces, or damaged.
        """
        path = self.landmarks(split)
        self._require_masks(split)
        self.require_intact(self.masks_json, path)
        return read_npz(path, self.remedy(path), names, rows=self._face_shape(split)[0])

    def load_boxes(self, split: str) -> np.ndarray:
        """The box of each face's landmarks: left, top, right, bottom in pixels, float32 (N, 4).

        Raises UserError where masks are not made yet, or of other faces.
        """
        return self.load_landmarks(split, ["box"])["box"]

    def _require_masks(self, split: str) -> None:
        if not self.region_maps(split).exists():
            raise UserError(f"{self.root}: no region maps for '{split}'; run 'fertool masks' first")
        faces = self.faces(split)
        made_for = self.masks_record()["made_from"].get("inputs", {})
        if made_for.get(os.path.relpath(faces, self.root)) != self.fingerprint(faces):
            raise UserError(f"{self.root}: the region maps are of other faces; run 'fertool masks' again")

    # --- whether what is there is what was written --------------------------------------------------------

    def products(self, record: Path, files: Iterable[Path]) -> dict[str, dict[str, Any]]:
        """The sizes and hashes that `record`, a JSON file, keeps of its files under the key `products`.

        Returns:
            for each file, by its path beside the record: `bytes`, its size, `sha256`, the hash of its content, and
            `columns` of the faces' CSV, to which users may add others.
        """
        products = {}
        for path in files:
            size, digest = self._size_and_hash(path)
            columns = {"columns": header_of(path)} if self._takes_columns(path) else {}
            products[os.path.relpath(path, record.parent)] = {"bytes": size, "sha256": digest, **columns}
        return products

    def is_intact(self, record: Path, product: Path, *, cached: bool = True) -> bool:
        """Whether a file is there and what `record` says that was written; true where the record does not say.

        All of a large file is read where not `cached`.
        """
        try:
            return self._is_as_recorded(read_json(record), record, product, cached=cached)
        except DamagedError:
            return False

    def require_intact(self, record: Path, product: Path) -> None:
        """Raise DamagedError where a file is not what `record` says that was written, or the record itself is not."""
        if not (product.exists() and record.exists()):
            return
        if not self._is_as_recorded(read_json(record, self.remedy(record)), record, product):
            raise damaged(product, f"not the file that {record.name} describes", self.remedy(product))

    def holds(self, path: Path) -> bool:
        """Whether a file that not every data set has is there: the truth of a split, near twins.

        Raises DamagedError where dataset.json describes it and it is gone: what reads it would do without in silence.
        """
        if path.exists():
            return True
        if self.dataset_json.exists():
            recorded = read_json(self.dataset_json, self.remedy(self.dataset_json)).get("products", {})
            if os.path.relpath(path, self.root) in recorded:
                raise damaged(path, "no such file", self.remedy(path))
        return False

    def _is_as_recorded(
        self, content: Mapping[str, Any], record: Path, product: Path, *, cached: bool = True
    ) -> bool:
        """`is_intact` by the content of the record."""
        recorded = content.get("products", {})
        if not isinstance(recorded, dict) or not product.exists():
            return False
        wanted = recorded.get(os.path.relpath(product, record.parent))
        if wanted is None:
            return True
        if not isinstance(wanted, dict):
            return False
        return (wanted.get("bytes"), wanted.get("sha256")) == self._size_and_hash(product, cached=cached)

    def remedy(self, path: Path) -> str:
        """The remedy where a file of the workspace is damaged: the command that makes it again."""
        try:
            parts = path.resolve().relative_to(self.root.resolve()).parts
        except ValueError:
            parts = ()
        if parts[:1] == ("masks",):
            command = "masks --force"
        elif parts[:1] == ("runs",) and len(parts) > 2:
            run = f" --run {parts[1]}"
            kind = next((part for part in ("scores", "heatmaps", "predictions") if part in parts[2:-1]), "")
            command = {"scores": f"score{run} --force", "": f"train --name {parts[1]} --force"}.get(
                kind, f"explain{run} --force"
            )
        else:
            command = "prepare SOURCE --force"
        return f"run 'fertool {command}' to make it again"

    def changed_faces(self, run: Run) -> str | None:
        """The reason to use no figure of a run: it was trained on other faces than lie here.

        Every command that reads runs asks this before it uses one: a run that was named is refused with the reason
        (`require_own_faces`), a run that was not named is left out with the reason as a note. `run` is one of this
        workspace's own, also where its results lie with another (`Run.on`). The hashes are those of run.json: `faces`,
        of all splits, or for runs of earlier versions the inputs of `made_from`. A process computes them once. None
        where the faces are the same, or the record does not say.
        """
        record = run.config()
        inputs = record["made_from"].get("inputs", {})
        recorded = record.get("faces") or {
            name: digest for name, digest in inputs.items() if Path(name).parent.name == "faces"
        }
        for name, digest in recorded.items():
            path = self.root / name
            if not path.exists() or self.fingerprint(path) != digest:
                what = "is missing" if not path.exists() else "has changed"
                return (
                    f"trained on other faces than lie here ({name} {what}); run 'fertool prepare' with the faces that "
                    f"it was trained on, or 'fertool train --name {run.name} --force'"
                )
        return None

    def require_own_faces(self, run: Run) -> None:
        """Raise UserError, with the reason, where `changed_faces` has one."""
        if reason := self.changed_faces(run):
            raise UserError(f"{run.folder}: {reason}")

    # --- what a product was made from -------------------------------------------------------------------

    def fingerprint(self, path: Path, *, cached: bool = True) -> str:
        """SHA-256 of a file's content, which a process reads once while size and time of change stay.

        Columns that a user added to the faces' CSV do not count.
        A file above WHOLE_BYTES whose sampled blocks are those of an earlier command has the hash that was found then;
        it is computed from all of the content where not `cached`.
        """
        return self._size_and_hash(path, cached=cached)[1]

    def _size_and_hash(self, path: Path, *, cached: bool = True) -> tuple[int, str]:
        """The size and the `fingerprint` of a file's content."""
        key = os.fsencode(path.resolve()).decode("utf-8", "backslashreplace")
        status = path.stat()
        size, stamp = status.st_size, [status.st_size, status.st_mtime_ns]
        known_stamp, known = _FINGERPRINTS.get(key, (None, None))
        if cached and known is not None and known_stamp == stamp:
            return known
        if (own := self._own_content(path)) is not None:
            size, digest = len(own), hashlib.sha256(own).hexdigest()
        elif size > WHOLE_BYTES:
            digest = self._large_fingerprint(path, key, stamp, cached)
        else:
            digest = file_sha256(path)
        _FINGERPRINTS[key] = (stamp, (size, digest))
        return size, digest

    def _takes_columns(self, path: Path) -> bool:
        return path.suffix == ".csv" and path.parent.resolve() == (self.root / "faces").resolve()

    def _own_content(self, path: Path) -> bytes | None:
        """The content of the faces' CSV without the columns that a user added; None where there are none."""
        if not self._takes_columns(path):
            return None
        try:
            product = read_json(self.dataset_json)["products"][os.path.relpath(path, self.root)]
            return without_added_columns(path, product["columns"])
        except (OSError, DamagedError, KeyError, TypeError):  # prepared by an earlier version, or just now
            return None

    def _large_fingerprint(self, path: Path, key: str, stamp: list[int], cached: bool) -> str:
        cache_file = self.root / ".fingerprints.json"
        cache, sample = _read_cache(cache_file), _sampled_sha256(path, stamp[0])
        known: list[Any] = cache.get(key) or [None] * 4
        if cached and [known[0], known[1], known[3]] == [*stamp, sample]:
            return str(known[2])
        digest = file_sha256(path)
        entry: list[Any] = [*stamp, digest, sample]
        with contextlib.suppress(OSError):  # a workspace that is only read has no cache
            if self.root.exists() and cache.get(key) != entry:
                write_json(cache_file, {**cache, key: entry}, durable=False)
        return digest

    def made_from(self, revision: int, settings: Mapping[str, Any], inputs: Iterable[Path]) -> dict[str, Any]:
        """The record that a product carries: algorithm revision, settings, inputs with their hashes."""
        hashes = {os.path.relpath(path, self.root): self.fingerprint(path) for path in inputs}
        return json.loads(json.dumps({"revision": revision, "settings": settings, "inputs": hashes}))

    def is_current(self, record: Path, made_from: Mapping[str, Any], products: Iterable[Path] = ()) -> bool:
        """Whether `record`, a JSON file, says that it was made from just this, and its products are as written."""
        try:
            content = read_json(record)
        except OSError:
            return False
        except DamagedError:
            if record.exists():
                log.warning("%s: damaged or changed since it was made; making it again", record)
            return False
        if not are_made_alike(content.get("made_from"), made_from):
            return False
        recorded = content.get("products", {})
        described = [record.parent / name for name in recorded] if isinstance(recorded, dict) else []
        for product in (*products, *described):
            if not product.exists():
                return False
            if not self._is_as_recorded(content, record, product):
                log.warning("%s: damaged or changed since it was made; making it again", product)
                return False
        return True


def are_made_alike(first: object, second: object) -> bool:
    """Whether two records `made_from` name the same revision, settings and files.

    Files outside the workspace, as those of a user's network, count by their name and content: links lead to them by
    other paths.
    """
    return first == second or _by_content(first) == _by_content(second) is not None


def _by_content(made_from: object) -> tuple[object, ...] | None:
    inputs = made_from.get("inputs") if isinstance(made_from, dict) else None
    if not isinstance(made_from, dict) or not isinstance(inputs, dict):
        return None
    inside = {name: digest for name, digest in inputs.items() if not name.startswith("../")}
    outside = sorted((Path(name).name, str(inputs[name])) for name in inputs.keys() - inside.keys())
    return {**made_from, "inputs": inside}, outside


def _read_cache(path: Path) -> dict[str, list[Any]]:
    """The entries of a cache of fingerprints; none where it is missing or damaged, for it is made again."""
    try:
        content = json.loads(path.read_bytes())
        return {key: entry for key, entry in content.items() if len(entry) == 4}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _sampled_sha256(path: Path, size: int) -> str:
    """The SHA-256 of a file's sampled blocks, one after another."""
    total = hashlib.sha256()
    with path.open("rb", buffering=0) as handle:
        for start in np.linspace(0, size - BLOCK_BYTES, SAMPLED_BLOCKS, dtype=np.int64).tolist():
            handle.seek(start)
            total.update(handle.read(BLOCK_BYTES))
    return total.hexdigest()
