"""The suite `representation`: emotion in a network's stages before and after training, and similarity of stages.

Linear probes (Alain and Bengio 2016, 'Understanding intermediate layers using linear classifier probes'): a
logistic regression on the pooled features of each stage, fitted on train, tested on the run's split. Its
penalty is fixed, so nothing is chosen on test. 'Before' are the weights that the run's training began with. Beside
them linear CKA (`score.cka`) of each stage before and after, and of the stages of two runs: for that the features of
some faces are kept beside a run's figures, and no network runs where several runs are compared.
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from fertool.errors import UserError
from fertool.explain.face_sample import stratified_rows
from fertool.models import FaceClassifier
from fertool.models.initial_model import initial_model
from fertool.models.structure.stage_features import stage_features
from fertool.models.structure.stages import in_head
from fertool.models.weights.load import load_weights
from fertool.models.weights.sources import FOLDER_VARIABLE, Weights, find_weights
from fertool.runtime.files import file_sha256, write_npz
from fertool.runtime.hardware import Compute
from fertool.runtime.progress import progress_bar
from fertool.runtime.reading import read_npz
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.perturbations.number_format import picture_compute
from fertool.score.results.seed_rows import NOTE, rows_of_seeds, seed_cells
from fertool.score.results.tables import run_label, with_interval
from fertool.score.settings import ScoreSettings
from fertool.score.statistics.cka import linear_cka, linear_ckas
from fertool.score.statistics.intervals import mean_interval
from fertool.score.statistics.json_numbers import mean_known, number_or_none, numbers_or_none
from fertool.score.statistics.scales import PROPORTION
from fertool.score.suites.input_files import model_files
from fertool.score.suites.suite import Compared, Results, Suite
from fertool.summary import Table

MOST_COMPARED = 8  # runs, each with each other
# C of scikit-learn's LogisticRegression, the inverse strength of its L2 penalty: of 0.001 to 1 the best for the late
# stages of `cnn` on FER2013's val split (early ones, of few channels, gain up to 2 points from 1)
PENALTY = 0.01
MOST_ITERATIONS = 300
# Features of all stages are held at once: of so many faces of train ResNet-50's take 1 GB
MOST_FITTED = 40_000
AT_ONCE = 8_000  # faces of the split
CKA_FACES = 4_000
FEATURES_SUFFIX, OF_STAGE = ".npz", "after_"  # of the file that keeps their features, and of the arrays in it


class Probe(Protocol):
    """A classifier on the features of a stage."""

    def predict(self, features: np.ndarray, /) -> np.ndarray:
        """Classes (N,) of features (N, p)."""
        ...


Stages = Mapping[str, np.ndarray]
"""Pooled features (N, channels) of the same faces, by stage."""


def score_representation(
    evaluated: EvaluatedRun, initial: FaceClassifier | None = None
) -> tuple[Figures, Columns, Stages]:
    """Accuracy of a linear probe on each stage before and after training, and their CKA.

    `initial` holds the weights that training began with; None makes them again, from the run's recipe, its seed
    and what its backbone was pretrained on. Probes are fitted on train, on some faces of a large one
    (`fitted_rows`). Columns: `right_before_<stage>` and `right_after_<stage>`, 0 or 1 a face. Last come the features
    after training of the faces that CKA takes, at most CKA_FACES of them, the same for every run.
    """
    networks = {"before": initial or _initial(evaluated), "after": evaluated.model}
    probed = {
        when: _probed(evaluated, network, f"probes {when} training") for when, network in networks.items()
    }
    before, after = probed["before"], probed["after"]
    right = {(when, stage): hits for when, own in probed.items() for stage, hits in own.right.items()}
    low, high = mean_interval(np.column_stack(list(right.values())).astype(float), evaluated.clusters)
    limits = dict(zip(right, zip(low.tolist(), high.tolist(), strict=True), strict=True))
    figures: Figures = {
        "faces": len(evaluated.labels),
        "train_faces": len(fitted_rows(evaluated.workspace.load_labels("train", evaluated.classes))),
        "penalty": PENALTY,
        "stages": [
            {
                "stage": stage,
                "channels": features.shape[1],
                **{
                    when: {
                        "accuracy": float(own.right[stage].mean()),
                        "interval": numbers_or_none(limits[when, stage]),
                    }
                    for when, own in probed.items()
                },
                "cka": number_or_none(linear_cka(before.features[stage], features)),
            }
            for stage, features in after.features.items()
        ],
    }
    columns = {f"right_{when}_{stage}": hits.astype(np.int64) for (when, stage), hits in right.items()}
    return figures, columns, after.features


@dataclass(frozen=True)
class Probed:
    """The stages of a network."""

    right: Mapping[str, np.ndarray]  # whether a probe recognises each face, bool (N,), by stage
    features: Stages  # of the faces that CKA takes


# The networks that came last, by what their stages depend on: seeds begin with the same pretrained weights, and a
# frozen backbone ends with them
_kept: dict[tuple[object, ...], Probed] = {}
MOST_KEPT = 2


def _probed(evaluated: EvaluatedRun, network: FaceClassifier, title: str) -> Probed:
    """The stages of a network, from those that are kept where it has the backbone of one of them."""
    compute = picture_compute(evaluated)
    key = (*_what_probes_read(evaluated), compute.device.type, compute.precision, backbone_sha256(network))
    probed = _kept.pop(key, None) or _fit_probes(evaluated, network, compute, title)
    _kept[key] = probed
    while len(_kept) > MOST_KEPT:
        del _kept[next(iter(_kept))]
    return probed


def _fit_probes(evaluated: EvaluatedRun, network: FaceClassifier, compute: Compute, title: str) -> Probed:
    train, train_labels, train_boxes = _train_faces(evaluated)
    rows = fitted_rows(train_labels)
    features, labels = stage_features(network, train, compute, train_boxes, rows), train_labels[rows]
    probes = {}
    with progress_bar(f"{evaluated.run.name}: {title}", len(features), "probes") as bar:
        for stage in list(features):
            probes[stage] = fit_probe(features.pop(stage), labels)
            bar.update(1)
    return _tested(evaluated, network, compute, probes)


def _tested(
    evaluated: EvaluatedRun, network: FaceClassifier, compute: Compute, probes: Mapping[str, Probe]
) -> Probed:
    """The hits of the probes on the faces of the split, and the features of those that CKA takes."""
    faces = len(evaluated.faces)
    of_cka = np.sort(np.random.default_rng(0).permutation(faces)[:CKA_FACES])
    right: dict[str, list[np.ndarray]] = {stage: [] for stage in probes}
    kept: dict[str, list[np.ndarray]] = {stage: [] for stage in probes}
    for start in range(0, faces, AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, faces))
        tested = stage_features(network, evaluated.faces, compute, evaluated.boxes, rows)
        for stage, features in tested.items():
            right[stage].append(probes[stage].predict(features) == evaluated.labels[rows])
            kept[stage].append(features[np.isin(rows, of_cka)])
    return Probed(
        {stage: np.concatenate(parts) for stage, parts in right.items()},
        {stage: np.concatenate(parts) for stage, parts in kept.items()},
    )


def _what_probes_read(evaluated: EvaluatedRun) -> tuple[object, ...]:
    """Faces, labels and boxes of train and of the split."""
    workspace = evaluated.workspace
    files = [
        path(split)
        for split in ("train", evaluated.split)
        for path in (workspace.faces, workspace.faces_csv, workspace.landmarks)
    ]
    rows = evaluated.sampled(np.arange(len(evaluated.whole.labels)))
    return (*map(workspace.fingerprint, filter(Path.exists, files)), *evaluated.classes, rows.tobytes())


def backbone_sha256(network: FaceClassifier) -> str:
    """The hash of a network's weights and statistics without its head's, and of how it takes pictures."""
    digest = hashlib.sha256(repr(network.recipe).encode())
    for name, tensor in network.network.state_dict().items():
        if not (network.head and in_head(network, name)):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def fitted_rows(labels: np.ndarray) -> np.ndarray:
    """The rows of train that probes are fitted on, int64 (n,), ascending, from its class codes (N,).

    All of them, or MOST_FITTED drawn by seed 0, of each class its part and of a rare one at least one face.
    """
    rows = stratified_rows(labels, MOST_FITTED, seed=0)
    if rows is None:
        return np.arange(len(labels))
    return np.union1d(rows, np.unique(labels, return_index=True)[1])


def fit_probe(features: np.ndarray, labels: np.ndarray) -> Probe:
    """A logistic regression on `features` (N, p) with `labels` (N,).

    Features are standardised by the mean and deviation of those that it is fitted on.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=MOST_ITERATIONS))
    with warnings.catch_warnings():
        # the last digits of its weights are of no interest
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features, labels)


def write_features(evaluated: EvaluatedRun, features: Stages) -> None:
    """Keep a run's features of the faces that CKA takes, beside its figures, and say of which faces they are.

    The record of the figures before goes away first: it is not of these features.
    """
    evaluated.run.scores("representation", evaluated.split).unlink(missing_ok=True)
    arrays = {f"{OF_STAGE}{stage}": values for stage, values in features.items()}
    write_npz(_features_file(evaluated), faces_sha256=np.array(_faces_sha256(evaluated)), **arrays)


def read_features(evaluated: EvaluatedRun) -> Stages | None:
    """The features that are kept of a run; None where there are none, or of other faces than there are now."""
    place = _features_file(evaluated)
    if not place.exists():
        return None
    evaluated.workspace.require_intact(place.with_suffix(".json"), place)
    stored = read_npz(place, evaluated.workspace.remedy(place))
    if stored.get("faces_sha256") != _faces_sha256(evaluated):
        return None
    return {
        name.removeprefix(OF_STAGE): values for name, values in stored.items() if name.startswith(OF_STAGE)
    }


def _features_file(evaluated: EvaluatedRun) -> Path:
    return evaluated.run.scores("representation", evaluated.split).with_suffix(FEATURES_SUFFIX)


def _faces_sha256(evaluated: EvaluatedRun) -> str:
    return evaluated.workspace.fingerprint(evaluated.workspace.faces(evaluated.split))


def compare_stages(
    evaluated_runs: Sequence[EvaluatedRun], labels: Mapping[str, str] | None = None
) -> tuple[list[Figures], list[Table]]:
    """Linear CKA of every stage of a run with every stage of each later one, from the features that are kept.

    A pair is left out where `read_features` has none of a run. Among more than MOST_COMPARED runs only the first of
    each condition is compared: pairs grow with the square. `labels` are what tables call runs, by their names.
    """
    if len(evaluated_runs) > MOST_COMPARED:
        evaluated_runs = list(
            {
                evaluated.run.config()["condition"]: evaluated for evaluated in reversed(evaluated_runs)
            }.values()
        )[::-1]
    figures = []
    for first, second in combinations(evaluated_runs, 2):
        # read for each pair: those of many runs do not fit into memory
        ours, theirs = read_features(first), read_features(second)
        if ours is not None and theirs is not None:
            names = {"runs": [first.run.name, second.run.name], "split": first.split}
            figures.append(names | cka_between(ours, theirs))
    return figures, [cka_table(pair, labels or {}) for pair in figures]


def cka_between(ours: Stages, theirs: Stages) -> Figures:
    """Linear CKA of every stage of one network with every stage of another, from features of the same faces."""
    return {
        "faces": len(next(iter(ours.values()))),
        "stages": [list(ours), list(theirs)],
        "cka": [
            list(map(number_or_none, row)) for row in linear_ckas(list(ours.values()), list(theirs.values()))
        ],
    }


def _initial(evaluated: EvaluatedRun) -> FaceClassifier:
    record = evaluated.run.config()
    model = initial_model(evaluated.model.recipe, record["config"]["seed"], evaluated.compute.device)
    # an adopted network's weights are those that it was trained to elsewhere: it is compared with random ones
    if record.get("weights", "none") != "none" and record["config"]["epochs"]:
        kept = bool(record["config"].get("keep_head", False))
        load_weights(model, _pretrained(evaluated, record), keep_head=kept)
    return model


def _pretrained(evaluated: EvaluatedRun, record: Mapping[str, Any]) -> Weights:
    """The weights that a run began with: the file that it names, else what its setting means now."""
    source, sha256 = record["pretraining"]["source"], record["pretraining"]["sha256"]
    path = Path(source)
    if path.is_file() and file_sha256(path) == sha256:
        return Weights(record["weights"], path, sha256, source)
    weights = find_weights(record["model"], record["config"]["weights"])
    if weights.sha256 != sha256:
        raise UserError(
            f"{evaluated.run.folder}: began with the weights {source}, and others are found now; name their "
            f"folder in {FOLDER_VARIABLE}"
        )
    return weights


def _train_faces(evaluated: EvaluatedRun) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Faces, labels and, where the model asks, boxes of train."""
    labels = evaluated.workspace.load_labels("train", evaluated.classes)
    if len(np.unique(labels)) < 2:
        raise UserError(f"{evaluated.workspace.root}: train has faces of one class only; a probe needs two")
    boxes = evaluated.workspace.load_boxes("train") if evaluated.model.needs_boxes else None
    return evaluated.workspace.load_faces("train"), labels, boxes


# --- tables -------------------------------------------------------------------------------------------------


def representation_tables(scores: list[dict[str, Any]]) -> list[Table]:
    """A table for each set of stages: runs by stages, probes before and after training, and their CKA.

    Probes that were fitted on another number of faces stand apart.
    """
    tables = []
    for stages in dict.fromkeys(map(_fitted, scores)):
        runs = [run for run in scores if _fitted(run) == stages]
        first = runs[0]
        tables.append(
            Table(
                f"linear probes on {first['split']}: accuracy by stage, before and after training",
                ["run", "weights", *(f"{stage['stage']} ({stage['channels']})" for stage in first["stages"])],
                [row for run in runs for row in _rows(run)],
                [
                    f"Probe: a logistic regression (C = {first['penalty']:g}) on standardised pooled features, fitted "
                    f"on {first['train_faces']:,} faces of train [95% interval over faces]. Channels in brackets. CKA: "
                    "linear, debiased (Kornblith et al. 2019), of a stage before training with itself after.",
                ],
            )
        )
    return tables


def probes_over_seeds(results: Results) -> list[Table]:
    """A table for each set of stages: conditions by stages, where one has several seeds."""
    tables = []
    for fitted in dict.fromkeys(map(_fitted, results.scores)):
        stages, _ = fitted
        rows = rows_of_seeds([run for run in results.scores if _fitted(run) == fitted])
        if not rows:
            continue
        cells: list[list[str]] = []
        for row in rows:
            for when in ("before", "after"):
                measures = [itemgetter(f"right_{when}_{stage}") for stage, _ in stages]
                figures = seed_cells(row, results.columns, measures, results.clusters, PROPORTION)
                cells.append([row.label, row.seeds, when, *figures])
            ckas = [
                mean_known(run["stages"][number]["cka"] for run in row.runs) for number in range(len(stages))
            ]
            cells.append([row.label, row.seeds, "CKA", *map(_two_digits, ckas)])
        tables.append(
            Table(
                f"linear probes on {results.scores[0]['split']}: accuracy by stage, before and after training, over "
                "seeds",
                ["model", "seeds", "weights", *(f"{stage} ({channels})" for stage, channels in stages)],
                cells,
                [NOTE, "CKA: mean over seeds."],
            )
        )
    return tables


def cka_table(figures: Mapping[str, Any], labels: Mapping[str, str]) -> Table:
    """Stages of one run by stages of another, from the figures of `cka_between`."""
    first, second = (labels.get(name, name) for name in figures["runs"])
    rows, columns = figures["stages"]
    return Table(
        f"linear CKA of {first} (rows) and {second} (columns) on {figures['split']}",
        ["stage", *columns],
        [
            [stage, *(_two_digits(value) for value in values)]
            for stage, values in zip(rows, figures["cka"], strict=True)
        ],
        [
            f"Linear CKA, debiased (Kornblith et al. 2019), of pooled features of {figures['faces']:,} faces: 1 for "
            "the same representation up to a rotation and scale."
        ],
    )


def _fitted(run: Mapping[str, Any]) -> tuple[tuple[tuple[str, int], ...], int]:
    """The stages of a run, and the faces that its probes were fitted on."""
    return _names(run), run["train_faces"]


def _names(run: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    return tuple((stage["stage"], stage["channels"]) for stage in run["stages"])


def _rows(run: Mapping[str, Any]) -> list[list[str]]:
    probes = [
        [
            run_label(run),
            when,
            *(with_interval(stage[when]["accuracy"], stage[when]["interval"]) for stage in run["stages"]),
        ]
        for when in ("before", "after")
    ]
    return [*probes, [run_label(run), "CKA", *(_two_digits(stage["cka"]) for stage in run["stages"])]]


def _two_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


# --- the suite ----------------------------------------------------------------------------------------------


def _files(evaluated: EvaluatedRun, settings: ScoreSettings) -> list[Path]:
    workspace = evaluated.workspace
    return [*model_files(evaluated, settings), workspace.faces("train"), workspace.faces_csv("train")]


def _score(evaluated: EvaluatedRun, _settings: ScoreSettings) -> tuple[Figures, Columns]:
    figures, columns, features = score_representation(evaluated)
    write_features(evaluated, features)
    return figures, columns


def _show(results: Results) -> tuple[Compared, list[Table]]:
    labels = {run["run"]: run_label(run) for run in results.scores}
    between, tables = compare_stages(results.evaluated_runs, labels)
    return {"cka": between}, [*probes_over_seeds(results), *representation_tables(results.scores), *tables]


REPRESENTATION = Suite(
    name="representation",
    explains=False,
    score=_score,
    show=_show,
    inputs=_files,
    revision=4,
    samples=False,
    beside=(".csv", FEATURES_SUFFIX),
)
