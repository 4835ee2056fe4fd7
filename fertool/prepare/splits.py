"""Splits by seed: every class in the same shares everywhere, and faces that belong together in one split."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fertool.errors import UserError
from fertool.prepare.settings import PrepareSettings
from fertool.prepare.sources.labelled_faces import UNTOLD, LabelledFaces
from fertool.prepare.twins import same_pixels

FOLD = "fold"
"""The column of faces/<split>.csv that tells the fold of each face."""

WHOLE = {"train": 0.8, "val": 0.1, "test": 0.1}
"""Shares where the source has no splits."""

TRAIN_AND_VAL = {"train": 0.9, "val": 0.1}
"""Shares of the training faces where the source has no val."""


def with_splits(faces: LabelledFaces, settings: PrepareSettings, where: str) -> tuple[LabelledFaces, str]:
    """Draw the splits that the source of the faces does not tell.

    Faces of one person share a split, as do pictures in whose name `settings.group_by` finds the same text, and
    identical twins. A val without a test serves as test, and val is drawn from train then.

    Args:
        faces: the faces; their splits are all unknown, or val or test is missing.
        settings: the seed of the draw, the expression on file names, the folds.
        where: how messages name the source.

    Returns:
        The faces with their splits, and in words where the splits come from.

    Raises:
        UserError: without training faces to make val of, for a name in which `group_by` finds nothing, and for folds
            where splits are told, or persons are not, or too few of them.
    """
    keys = [same_pixels(faces.images)]
    kept_together = ["twins"]
    persons = _persons(faces, settings.group_by)
    if persons is not None:
        keys.append(persons)
        kept_together.append("persons" if settings.group_by is None else "groups of --group-by")
    together, words = clusters(*keys), " and ".join(kept_together)
    if settings.folds is not None:
        return _with_folds(faces, persons, together, settings, where)
    if (faces.splits == UNTOLD).all():
        splits = stratified_splits(faces.labels, together, WHOLE, settings.seed)
        return replace(
            faces, splits=splits
        ), f"80/10/10, stratified, seed {settings.seed}, {words} kept together"
    splits = faces.splits.copy()
    origin = "the source"
    if "test" not in splits:
        splits[splits == "val"] = "test"
        origin = "the source, whose val serves as test, for it has none"
    train = splits == "train"
    if not train.any():
        raise UserError(f"{where}: split 'train' is empty; name its folder train")
    splits[train] = stratified_splits(faces.labels[train], together[train], TRAIN_AND_VAL, settings.seed)
    origin += f"; val is a stratified tenth of train, seed {settings.seed}, {words} kept together"
    return replace(faces, splits=splits), origin


def _persons(faces: LabelledFaces, group_by: str | None) -> np.ndarray | None:
    """Numbers or names that are equal for faces of one person, (N,): by `group_by`, else by the source."""
    if group_by is not None:
        return _name_groups(faces.sources, group_by)
    if faces.persons is None:
        return None
    # a face without a person stands for itself
    return np.array([person or f"\0{row}" for row, person in enumerate(faces.persons.tolist())])


def _with_folds(
    faces: LabelledFaces,
    persons: np.ndarray | None,
    together: np.ndarray,
    settings: PrepareSettings,
    where: str,
) -> tuple[LabelledFaces, str]:
    """Fold `settings.fold` of stratified folds by person is test, the next one is val; the column `fold` tells each."""
    count = settings.folds or 0
    if (faces.splits != UNTOLD).any():
        raise UserError(f"--folds: {where} comes with splits of its own; leave it out")
    if persons is None:
        raise UserError(
            f"--folds: nothing in {where} tells persons; give --group-by, or a column with --list"
        )
    if len(np.unique(together)) < count:
        raise UserError(
            f"--folds {count}: {where} has {len(np.unique(together))} persons who share no picture; give fewer folds"
        )
    shares = {str(fold): 1 / count for fold in range(count)}
    folds = stratified_splits(faces.labels, together, shares, settings.seed)
    splits = np.full(len(faces), "train")
    splits[folds == str((settings.fold + 1) % count)] = "val"
    splits[folds == str(settings.fold)] = "test"
    origin = (
        f"fold {settings.fold} of {count} is test, fold {(settings.fold + 1) % count} is val; folds by person, "
        f"stratified, seed {settings.seed}"
    )
    return replace(faces, splits=splits, columns={**faces.columns, FOLD: folds}), origin


def _name_groups(sources: np.ndarray, group_by: str) -> np.ndarray:
    pattern = re.compile(group_by)
    groups = []
    for source in sources.tolist():
        match = pattern.search(Path(source).name)
        if match is None:
            raise UserError(
                f"{source}: --group-by '{group_by}' finds nothing in its name; correct the expression"
            )
        if pattern.groups and match[1] is None:
            raise UserError(
                f"{source}: --group-by '{group_by}' finds its name and not its first group; "
                "put one group around what tells persons apart"
            )
        groups.append(match[1] if pattern.groups else match[0])
    return np.array(groups)


def clusters(*keys: np.ndarray) -> np.ndarray:
    """Numbers that are equal for faces that any of `keys` (each (N,)) connects, directly or through other faces.

    int64 (N,).
    """
    faces = np.arange(len(keys[0]))
    firsts = []
    for key in keys:
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        firsts.append(first[inverse.reshape(-1)])
    ends = (np.tile(faces, len(keys)), np.concatenate(firsts))
    links = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(len(faces), len(faces)))
    return connected_components(links, directed=False)[1].astype(np.int64)


def stratified_splits(
    labels: np.ndarray, together: np.ndarray, shares: Mapping[str, float], seed: int
) -> np.ndarray:
    """The split of each face, str (N,), drawn by `seed`.

    Faces with equal numbers in `together` (N,) share a split. As far as that allows, every split but the first has
    its share of each class to within one face, and at least one face of a class with as many faces as there are
    splits; the first split takes the rest. Clusters of several faces are placed first, large ones before small ones,
    each where its classes are furthest from their quota; single faces then fill the quotas.
    """
    rng = np.random.default_rng(seed)
    names = list(shares)
    cluster = np.unique(together, return_inverse=True)[1].reshape(-1)
    class_count = int(labels.max()) + 1
    quota = _quotas(np.bincount(labels, minlength=class_count), list(shares.values()))
    remaining = quota.astype(np.float64)
    split = np.zeros(len(labels), np.int64)

    members = np.zeros((int(cluster.max()) + 1, class_count), np.int64)
    np.add.at(members, (cluster, labels), 1)
    sizes = members.sum(axis=1)
    several = np.flatnonzero(sizes > 1)
    several = rng.permutation(several)
    several = several[np.argsort(-sizes[several], kind="stable")]
    split_of_cluster = np.full(len(members), -1)
    for number in several:
        need = (members[number] * remaining / np.maximum(quota, 1)).sum(axis=1)
        chosen = int(np.argmax(need))
        split_of_cluster[number] = chosen
        remaining[chosen] -= members[number]
    placed = split_of_cluster[cluster] >= 0
    split[placed] = split_of_cluster[cluster][placed]

    for code in range(class_count):
        singles = rng.permutation(np.flatnonzero(~placed & (labels == code)))
        start = 0
        for other in range(1, len(names)):
            stop = start + max(0, int(remaining[other, code]))
            split[singles[start:stop]] = other
            start = stop
    return np.array(names)[split]


def _quotas(per_class: np.ndarray, shares: list[float]) -> np.ndarray:
    """The number of faces of each class in each split, int64 (splits, classes); columns add up to `per_class`."""
    quota = np.rint(np.outer(shares, per_class)).astype(np.int64)
    quota[1:] = np.where(per_class >= len(shares), np.maximum(quota[1:], 1), quota[1:])
    quota[0] = per_class - quota[1:].sum(axis=0)
    return quota
