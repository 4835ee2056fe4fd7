import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fertool.train import mapped_faces, train
from fertool.train.config import TrainConfig
from fertool.train.mapped_faces import MappedFaces, face_reader
from fertool.workspace import Workspace

FACES = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)


@given(
    rows=st.lists(st.integers(0, 39), max_size=12),
    again=st.slices(12),
    forget_bytes=st.sampled_from([1, 1 << 17, 1 << 30]),
)
def test_reads_are_what_the_array_holds(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], again: slice, forget_bytes: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "faces.npy"
    if not path.exists():
        np.save(path, FACES)
    index = np.array(rows, dtype=int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped_faces, "FORGET_BYTES", forget_bytes)
        mapped = MappedFaces(np.load(path, mmap_mode="r"))
        assert mapped.shape == FACES.shape
        assert np.array_equal(mapped[index], FACES[index])
        part = mapped.part(index)
        assert len(part) == len(rows)
        assert np.array_equal(part[again], FACES[index][again])
        assert np.array_equal(mapped[5:17], FACES[5:17])  # also from the map that took the first one's place


@pytest.mark.parametrize("in_memory_bytes", [0, FACES.nbytes])
def test_a_small_set_is_read_once_and_a_large_one_as_asked(
    monkeypatch: pytest.MonkeyPatch, in_memory_bytes: int
) -> None:
    monkeypatch.setattr(mapped_faces, "IN_MEMORY_BYTES", in_memory_bytes)
    changing = FACES.copy()
    read = face_reader(MappedFaces(changing), torch.device("cpu"))
    changing[:] = 0
    rows = torch.tensor([7, 3, 3])
    expected = FACES[[7, 3, 3]] if in_memory_bytes else np.zeros((3, 6, 5))
    assert np.array_equal(read(rows).numpy(), expected)


def resident_file_mib() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc here, which says how much of a map is resident")
    return int(re.search(r"RssFile:\s+(\d+) kB", status.read_text()).group(1)) / 1024


@pytest.mark.parametrize("forgets", [True, False])
def test_what_was_read_does_not_stay_resident(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgets: bool
) -> None:
    monkeypatch.setattr(mapped_faces, "FORGET_BYTES", 1 << 24 if forgets else 1 << 60)
    # a file of holes: 256 MiB that take no room on the disk
    array = np.lib.format.open_memmap(tmp_path / "faces.npy", "w+", np.uint8, (4096, 256, 256))
    array.flush()
    del array
    mapped = MappedFaces(np.load(tmp_path / "faces.npy", mmap_mode="r"))
    before_mib = resident_file_mib()
    most_mib = 0.0
    for start in range(0, len(mapped), 64):
        assert not mapped[start : start + 64].any()
        most_mib = max(most_mib, resident_file_mib() - before_mib)
    assert most_mib < 64 if forgets else most_mib > 200


def test_faces_that_stay_in_their_file_train_to_the_same_bits(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(epochs=2, lr=1e-3, precision="fp32", mixup=0.2)
    train(synthetic, config, name="in-memory", device="cpu")
    monkeypatch.setattr(mapped_faces, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(mapped_faces, "FORGET_BYTES", 1)
    train(synthetic, config, name="mapped", device="cpu")
    mapped, in_memory = (synthetic.run(name) for name in ("mapped", "in-memory"))
    assert mapped.history_csv.read_bytes() == in_memory.history_csv.read_bytes()
    assert mapped.best.read_bytes() == in_memory.best.read_bytes()
