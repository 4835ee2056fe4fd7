import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fertool.prepare.splits import TRAIN_AND_VAL, WHOLE, clusters, stratified_splits

shares = st.sampled_from([WHOLE, TRAIN_AND_VAL])
seeds = st.integers(0, 2**32 - 1)
labels_of_singles = (
    st.lists(st.integers(0, 60), min_size=2, max_size=7)
    .filter(sum)
    .map(lambda counts: np.repeat(np.arange(len(counts)), counts))
)


@settings(deadline=None)
@given(labels_of_singles, shares, seeds)
def test_single_faces_are_stratified_to_within_one(labels, shares, seed):
    splits = stratified_splits(labels, np.arange(len(labels)), shares, seed)
    assert set(splits) <= set(shares)
    for code in np.unique(labels):
        count = (labels == code).sum()
        for split, share in shares.items():
            got = ((splits == split) & (labels == code)).sum()
            assert abs(got - share * count) <= 1 or split == "train"
            assert got >= 1 or count < len(shares)


@settings(deadline=None, max_examples=60)
@given(st.data(), shares, seeds)
def test_what_belongs_together_never_straddles(data, shares, seed):
    count = data.draw(st.integers(1, 80))
    labels = np.array(data.draw(st.lists(st.integers(0, 6), min_size=count, max_size=count)))
    together = np.array(data.draw(st.lists(st.integers(0, 40), min_size=count, max_size=count)))
    splits = stratified_splits(labels, together, shares, seed)
    assert len(splits) == count
    for key in np.unique(together):
        assert len(set(splits[together == key])) == 1
    np.testing.assert_array_equal(splits, stratified_splits(labels, together, shares, seed))


def test_groups_of_all_classes_are_shared_out_as_single_faces_are():
    people, shots = 50, 14
    labels = np.tile(np.arange(7), people * shots // 7)
    together = np.repeat(np.arange(people), shots)
    splits = stratified_splits(labels, together, WHOLE, seed=4)
    assert [len(set(together[splits == split])) for split in WHOLE] == [40, 5, 5]


def test_seeds_differ():
    labels = np.zeros(100, np.int64)
    faces = np.arange(100)
    assert (stratified_splits(labels, faces, WHOLE, 0) != stratified_splits(labels, faces, WHOLE, 1)).any()


def test_clusters_connect_over_any_path():
    twins = np.array([0, 0, 1, 2, 3, 4])
    people = np.array(["a", "b", "b", "c", "d", "d"])
    together = clusters(twins, people)
    assert together[0] == together[1] == together[2]
    assert together[4] == together[5]
    assert len(np.unique(together)) == 3
