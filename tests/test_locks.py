import errno
import fcntl
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fertool.locks import alone
from fertool.workspace import Workspace


def test_what_one_process_makes_alone_another_waits_for(tmp_path: Path) -> None:
    """The other begins while the first is at it, and finds what that one made."""
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from fertool.locks import alone

        target = Path(sys.argv[1])
        with alone([target, target.with_name("more")]):
            print(target.exists(), flush=True)
            time.sleep(0.5)
            target.touch()
        """
    )
    command = [sys.executable, "-c", script, str(tmp_path / "maps" / "test.npy")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate(timeout=60)[0].strip() for process in both) == ["False", "True"]


def test_where_the_system_knows_no_locks_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone([tmp_path / "test.npy"]), Workspace(tmp_path).run("cnn").locked():
        (tmp_path / "test.npy").touch()
