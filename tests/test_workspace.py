import errno
import os
from pathlib import Path

import numpy as np
import pytest

from fertool.errors import UserError
from fertool.runtime.files import file_sha256, write_json, write_npy
from fertool.workspace import Run, Workspace

LARGE = 10_000  # bytes, of the files that are large in these tests


@pytest.fixture
def large_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of LARGE bytes are read in four blocks of 100 bytes."""
    for name, value in (("WHOLE_BYTES", LARGE - 1), ("SAMPLED_BLOCKS", 4), ("BLOCK_BYTES", 100)):
        monkeypatch.setattr(f"fertool.workspace.{name}", value)


def test_fingerprint_follows_the_content(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    path = tmp_path / "faces.npy"
    write_npy(path, np.zeros(3))
    before = workspace.fingerprint(path)
    assert workspace.fingerprint(path) == before
    write_npy(path, np.ones(3))
    assert workspace.fingerprint(path) != before


def test_a_workspace_that_may_only_be_read_is_read(
    large_files: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **_how: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    (tmp_path / "faces.npy").write_bytes(b"1" * LARGE)
    monkeypatch.setattr("fertool.workspace.write_json", refuse)
    assert Workspace(tmp_path).fingerprint(tmp_path / "faces.npy") == file_sha256(tmp_path / "faces.npy")


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"KEY": 3}', b'{"KEY": [1, 2]}', b"\xff"])
def test_a_damaged_cache_of_fingerprints_is_none(large_files: None, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "faces.npy").write_bytes(b"1" * LARGE)
    key = str((tmp_path / "faces.npy").resolve()).encode()
    (tmp_path / ".fingerprints.json").write_bytes(content.replace(b"KEY", key))
    assert Workspace(tmp_path).fingerprint(tmp_path / "faces.npy") == file_sha256(tmp_path / "faces.npy")


def test_bytes_that_change_under_the_same_size_and_time_are_found_by_the_next_command(
    large_files: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any byte of a small file; of a large one, damage that is longer than the gaps between sampled blocks."""
    for size, bytes_changed in ((LARGE // 2, 1), (LARGE, LARGE // 2)):
        path = tmp_path / f"{size}.npy"
        path.write_bytes(bytes(size))
        status, before = path.stat(), Workspace(tmp_path).fingerprint(path)
        path.write_bytes(bytes(size - bytes_changed) + b"1" * bytes_changed)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        monkeypatch.setattr("fertool.workspace._FINGERPRINTS", {})  # of the process
        assert Workspace(tmp_path).fingerprint(path) == file_sha256(path) != before


def test_a_large_file_is_read_whole_once(
    large_files: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.npy"
    path.write_bytes(os.urandom(LARGE))
    right = Workspace(tmp_path).fingerprint(path)
    monkeypatch.setattr("fertool.workspace._FINGERPRINTS", {})
    monkeypatch.setattr("fertool.workspace.file_sha256", None)
    assert Workspace(tmp_path).fingerprint(path) == right


def test_names_that_are_not_utf8_have_fingerprints_and_records(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"f\xfcr.npy")
    path.write_bytes(b"1")
    workspace = Workspace(tmp_path)
    record = workspace.products(tmp_path / "record.json", [path])
    write_json(tmp_path / "record.json", {"products": record})
    assert workspace.is_intact(tmp_path / "record.json", path)
    path.write_bytes(b"2")
    assert not workspace.is_intact(tmp_path / "record.json", path)


def test_a_product_that_is_not_what_was_written_is_refused_or_made_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    product, record = workspace.region_maps("test"), workspace.masks_json
    write_npy(product, np.zeros(300))
    made_from = workspace.made_from(1, {}, [])
    write_json(record, {"made_from": made_from, "products": workspace.products(record, [product])})
    workspace.require_intact(record, product)
    assert workspace.is_current(record, made_from, [product])
    write_npy(product, np.ones(300))  # as large as before
    assert not workspace.is_current(record, made_from, [product])
    with pytest.raises(
        UserError, match=r"test\.npy: not the file that masks\.json describes; run 'fertool masks"
    ):
        workspace.require_intact(record, product)
    write_json(record, {"made_from": made_from})  # of an earlier version
    workspace.require_intact(record, product)
    assert workspace.is_current(record, made_from, [product])


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("dataset.json", "prepare SOURCE --force"),
        ("faces/test.npy", "prepare SOURCE --force"),
        ("masks/test.npz", "masks --force"),
        ("runs/a/run.json", "train --name a --force"),
        ("runs/a/best.safetensors", "train --name a --force"),
        ("runs/a/predictions/test.npz", "explain --run a --force"),
        ("runs/a/heatmaps/rise/happy/test.json", "explain --run a --force"),
        ("runs/a/scores/attention/gradcam/happy/test.csv", "score --run a --force"),
        ("runs/a/on/b-0123/predictions/test.npz", "explain --run a --force"),
        ("runs/heatmaps/run.json", "train --name heatmaps --force"),
    ],
)
def test_the_command_that_makes_a_file_again(tmp_path: Path, path: str, command: str) -> None:
    assert Workspace(tmp_path).remedy(tmp_path / path) == f"run 'fertool {command}' to make it again"


def test_a_file_outside_counts_by_its_name_and_content_whatever_path_leads_to_it(tmp_path: Path) -> None:
    for folder in ("real", "far/workspace"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "real" / "net.py").write_text("one")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "workspace").symlink_to(tmp_path / "far" / "workspace")
    direct, linked = (Workspace(tmp_path / root) for root in ("far/workspace", "workspace"))
    record = direct.root / "run.json"
    write_json(record, {"made_from": direct.made_from(1, {"size": 48}, [tmp_path / "real" / "net.py"])})
    for workspace in (direct, linked):
        for path in (tmp_path / "real" / "net.py", tmp_path / "linked" / "net.py"):
            assert workspace.is_current(record, workspace.made_from(1, {"size": 48}, [path]))
            assert not workspace.is_current(record, workspace.made_from(1, {"size": 64}, [path]))
    (tmp_path / "real" / "net.py").write_text("another")
    assert not direct.is_current(record, direct.made_from(1, {"size": 48}, [tmp_path / "linked" / "net.py"]))
    assert not direct.is_current(record, direct.made_from(1, {"size": 48}, []))


def test_a_file_inside_counts_by_its_path(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.npy").write_text("one")
    write_json(tmp_path / "r.json", {"made_from": workspace.made_from(1, {}, [tmp_path / "a" / "x.npy"])})
    assert not workspace.is_current(
        tmp_path / "r.json", workspace.made_from(1, {}, [tmp_path / "b" / "x.npy"])
    )
    write_json(tmp_path / "r.json", {"made_from": {"inputs": 3}})
    assert not workspace.is_current(tmp_path / "r.json", workspace.made_from(1, {}, []))


def test_is_current_notices_settings_inputs_and_missing_products(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    source, product, record = tmp_path / "in.npy", tmp_path / "out.npy", tmp_path / "out.json"
    write_npy(source, np.zeros(3))
    write_npy(product, np.zeros(3))
    made_from = workspace.made_from(1, {"size": 48}, [source])
    write_json(record, {"made_from": made_from})
    assert workspace.is_current(record, made_from, [product])
    assert not workspace.is_current(record, workspace.made_from(2, {"size": 48}, [source]), [product])
    assert not workspace.is_current(record, workspace.made_from(1, {"size": 64}, [source]), [product])
    write_npy(source, np.ones(3))
    assert not workspace.is_current(record, workspace.made_from(1, {"size": 48}, [source]), [product])
    product.unlink()
    assert not workspace.is_current(record, made_from, [product])


def test_a_run_is_held_by_one_process(tmp_path: Path) -> None:
    run = Workspace(tmp_path).run("cnn-s0")
    with run.locked(), pytest.raises(UserError, match="another process"), run.locked():
        pass
    with run.locked():  # and is free again afterwards
        assert run.folder.is_dir()


def test_an_empty_workspace_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fertool prepare"):
        Workspace(tmp_path).dataset()


@pytest.mark.parametrize(
    ("content", "minutes"),
    [
        (b"epoch,epoch_s,images_per_s\n1,90,5\n2,60.0,7\n", "2.5"),
        (b"epoch,epoch_s\n", "-"),
        (b"epoch,epoch_s,images_per_s\n1,9 0,5\n", "-"),
        (b"epoch,seconds\n1,90\n", "-"),
        (b"\xff", "-"),
        (None, "-"),
    ],
)
def test_minutes_that_are_not_whole_stop_nothing(tmp_path: Path, content: bytes | None, minutes: str) -> None:
    run = Run(tmp_path)
    if content is not None:
        run.timing_csv.write_bytes(content)
    assert run.minutes() == minutes
