import errno
import fcntl
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fertool.errors import UserError
from fertool.runtime.locks import alone
from fertool.workspace import Workspace


def test_what_one_process_makes_alone_another_waits_for(tmp_path: Path) -> None:
    """The other begins while the first is at it, and finds what that one made."""
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from fertool.runtime.locks import alone
        from fertool.console import prepare_streams

        prepare_streams()
        target, release = Path(sys.argv[1]), Path(sys.argv[2])
        with alone([target, target.with_name("more")]):
            print(target.exists(), flush=True)
            while not release.exists():
                time.sleep(0.01)
            target.touch()
        """
    )
    target, release = tmp_path / "maps" / "test.npy", tmp_path / "release"

    def begin() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, str(target), str(release)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    first = begin()
    assert first.stdout.readline() == "False\n"
    second = begin()
    assert "another process is making it; waiting" in second.stderr.readline()
    release.touch()
    assert first.communicate(timeout=60) == ("", "")
    assert second.communicate(timeout=60) == ("True\n", "")


def test_where_the_system_knows_no_locks_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone([tmp_path / "test.npy"]), Workspace(tmp_path).run("cnn").locked():
        (tmp_path / "test.npy").touch()
    assert (tmp_path / "test.npy").exists()


@pytest.mark.parametrize("name", ["dataset.json", "run"])
def test_a_lock_that_is_a_link_is_not_followed_and_what_it_holds_stays(tmp_path: Path, name: str) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("three years of work")
    workspace = Workspace(tmp_path / "ws")

    def hold() -> None:
        with alone([workspace.dataset_json]) if name == "dataset.json" else workspace.run("run").locked():
            pass

    hold()
    (path,) = workspace.root.rglob(".*lock")
    path.unlink()
    path.symlink_to(notes)
    with pytest.raises(UserError, match="where a lock belongs; remove it"):
        hold()
    path.unlink()
    path.hardlink_to(notes)
    hold()
    assert notes.read_text() == "three years of work"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="where a lock belongs; remove it"):
        hold()
