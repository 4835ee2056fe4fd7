import functools
import operator
import os
import signal
import subprocess
import sys
import textwrap
import time
from multiprocessing import resource_tracker
from pathlib import Path

import numpy as np
import pytest

from fertool.errors import UserError
from fertool.runtime.worker_pool import WorkerPool, own_cores, usable_cores


def test_answers_come_in_order_and_errors_come_through() -> None:
    with WorkerPool(2, "") as pool:
        batches = (np.full(3, number) for number in range(12))
        assert list(pool.in_order(np.sum, batches)) == [3 * number for number in range(12)]
        with pytest.raises(ZeroDivisionError):
            list(pool.in_order(functools.partial(operator.floordiv, 1), [1, 0]))
        assert list(pool.in_order(np.sum, [])) == []


def test_batches_that_are_begun_are_done_before_they_are_asked_for(tmp_path: Path) -> None:
    with WorkerPool(1, "take fewer") as pool:
        made = pool.begun(os.mkdir, [tmp_path / "a", tmp_path / "b"])
        deadline_s = time.monotonic() + 60
        while not (tmp_path / "b").exists() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert (tmp_path / "b").exists() and list(made) == [None, None]
        made = pool.begun(_die_after_touching, [tmp_path / "begun"])
        while not (tmp_path / "begun").exists() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert (tmp_path / "begun").exists()  # else it would be done, and die, here
        with pytest.raises(UserError, match=r"take fewer$"):
            list(made)


def _die_after_touching(path: Path) -> None:
    path.touch()
    os._exit(3)


def test_what_no_worker_has_begun_is_done_here() -> None:
    with WorkerPool(1, "") as pool:
        made = list(pool.begun(_process_after, [0.5] * 12))
    assert {os.getpid()} < set(made) and made[0] != os.getpid()


def _process_after(wait_s: float) -> int:
    time.sleep(wait_s)
    return os.getpid()


def test_a_script_without_a_guard_runs_once(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from fertool.runtime.worker_pool import WorkerPool\n"
        "with WorkerPool(2, '') as pool:\n"
        "    print(*pool.in_order(abs, [-1, -2, -3]))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("1 2 3\n", 0), done.stderr


def test_a_worker_that_dies_is_told_of_with_what_to_do_and_does_not_hang() -> None:
    with (
        WorkerPool(1, "take a smaller one") as pool,
        pytest.raises(UserError, match=r"died .*take a smaller one$"),
    ):
        list(pool.in_order(os._exit, [3, 3]))


def test_ctrl_c_leaves_no_semaphore_to_warn_of(monkeypatch: pytest.MonkeyPatch) -> None:
    held: set[str] = set()
    for change, name in ((held.add, "register"), (held.discard, "unregister")):
        ours = getattr(resource_tracker, name)
        monkeypatch.setattr(resource_tracker, name, lambda *of, c=change, o=ours: (c(of[0]), o(*of)))
    with pytest.raises(KeyboardInterrupt) as held_while_the_process_ends, WorkerPool(2, "") as pool:
        assert list(pool.in_order(abs, [-1])) == [1] and held
        raise KeyboardInterrupt
    assert held_while_the_process_ends.tb is not None and held == set()


def test_cores_that_the_process_may_not_use_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert usable_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == 8


def test_workers_of_two_processes_have_cores_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 4, 6}, raising=False)
    assert own_cores(2) == [0, 3] and own_cores(2, before=2) == [4, 6]
    assert own_cores(3, before=3) == [6, 0, 3]
    assert own_cores(1) == own_cores(1, before=1) == [], "one alone goes where it likes"
    monkeypatch.delattr(os, "sched_getaffinity")
    assert own_cores(2) == []


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(ending: signal.Signals) -> None:
    script = textwrap.dedent(
        """
        import os, time
        from fertool.runtime.worker_pool import WorkerPool

        if __name__ == "__main__":
            with WorkerPool(2, "") as pool:
                print(*pool.in_order(eval, ["__import__('os').getpid()"]), flush=True)
                list(pool.in_order(time.sleep, [0.2] * 500))
        """
    )
    code = [sys.executable, "-c", script]
    # a test run started in the background of a script ignores Ctrl-C, and its children with it
    heeding = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    with subprocess.Popen(
        code, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=heeding
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        time.sleep(0.5)
        assert is_running(worker)
        parent.send_signal(ending)
        parent.wait(60)
    deadline_s = time.monotonic() + 30
    while is_running(worker) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not is_running(worker)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False
    ).stdout
    return bool(state.strip()) and not state.startswith("Z")
