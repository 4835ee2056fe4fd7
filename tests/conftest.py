import contextlib
import functools
import http.server
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fertool import cli
from fertool.masks import make_masks
from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.files import read_json, write_json
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

# The same examples in every run, however slow the machine: a failure is then the change's own. To search
# further, with 100 examples and other ones each time, run with --hypothesis-profile=default.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("repeatable")

# Modules whose tests start, kill or wait for processes: side by side they would measure each other.
PROCESS_TESTS = ("test_cli", "test_kill", "test_locks", "test_ranks", "test_several_jobs", "test_worker_pool")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a module, with its fixtures, on one worker, and all that starts processes on one."""
    from xdist.scheduler import LoadScopeScheduling

    class Modules(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return "processes" if Path(module).stem in PROCESS_TESTS else module

    return Modules(config, log)


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """A file of the folder beside the repository that holds data which is not ours to pass on."""

    def find(name: str) -> Path:
        if not (SHARED / name).exists():
            pytest.skip(f"needs {name} in a folder 'shared' beside the repository, which is not passed on")
        return SHARED / name

    return find


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Draws that name no generator are the same whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture
def in_process(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `fertool` on arguments in the process of the tests: without the seconds that imports take."""
    monkeypatch.setenv("COLUMNS", "120")
    log = logging.getLogger("fertool")
    for name in ("handlers", "level", "propagate"):
        monkeypatch.setattr(log, name, getattr(log, name))

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["fertool", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said, code = capfd.readouterr(), end.value.code
        if isinstance(code, str):  # as the interpreter does at its end
            return subprocess.CompletedProcess(sys.argv, 1, said.out, f"{said.err}{code}\n")
        return subprocess.CompletedProcess(sys.argv, int(code or 0), said.out, said.err)

    return run


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """`serve(folder)` hands out the files of a folder on this machine and returns the address; so does `serve(folder,
    handler)` with a handler of the test's own."""
    with contextlib.ExitStack() as served:

        def start(folder: Path, handler: type = http.server.SimpleHTTPRequestHandler) -> str:
            quiet = type("Quiet", (handler,), {"log_message": lambda *_: None})
            answer = functools.partial(quiet, directory=str(folder))
            server = served.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), answer))
            served.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return f"http://127.0.0.1:{server.server_port}"

        yield start


@pytest.fixture
def accept() -> Callable[[Workspace, Path, Path], None]:
    """`accept(workspace, record, path)` lets the record describe a file as a test has changed it."""

    def accept(workspace: Workspace, record: Path, path: Path) -> None:
        content = read_json(record)
        write_json(
            record, {**content, "products": content.get("products", {}) | workspace.products(record, [path])}
        )

    return accept


@pytest.fixture(scope="session")
def replace_in_record() -> Callable[[Path, str, str], None]:
    """`replace_in_record(path, old, new)` changes the text of a record, which is then one without a hash of itself."""

    def change(path: Path, old: str, new: str) -> None:
        write_json(path, json.loads(json.dumps(read_json(path)).replace(old, new)))

    return change


@pytest.fixture
def trained_on_the_faces_here() -> Callable[[Workspace, str], None]:
    """Let a run's record say that it was trained on the faces of the workspace as a test has changed them."""

    def change(workspace: Workspace, name: str) -> None:
        run = workspace.run(name)
        record = run.config()
        faces = {path: workspace.fingerprint(workspace.root / path) for path in record["faces"]}
        write_json(run.run_json, {**record, "faces": faces})

    return change


@pytest.fixture
def second_waits() -> Callable:
    """Check that of two calls at once the second waits until the first is through.

    `hold_up` is given what holds a call up, and returns a list that grows whenever a call gets there.
    """

    def check(
        call: Callable[[], object], hold_up: Callable[[Callable[[], None]], list[object]]
    ) -> list[object]:
        first, release = threading.Event(), threading.Event()

        def at_it() -> None:
            first.set()
            assert release.wait(60)

        made = hold_up(at_it)
        calls = [threading.Thread(target=call) for _ in range(2)]
        calls[0].start()
        assert first.wait(60)
        calls[1].start()
        calls[1].join(1)
        assert calls[1].is_alive() and len(made) == 1
        release.set()
        for thread in calls:
            thread.join(60)
        return made

    return check


@pytest.fixture(scope="session")
def with_other_weights() -> Callable[[Workspace, str, Callable[[dict[str, torch.Tensor]], None]], None]:
    """Give a finished run other weights, as another training would have: edited in place, and recorded in run.json."""

    def change(workspace: Workspace, name: str, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
        run = workspace.run(name)
        with safe_open(run.best, framework="pt") as file:
            metadata = file.metadata()
        state = load_file(run.best)
        edit(state)
        save_file(state, run.best, metadata)
        record = {**run.config(), "products": workspace.products(run.run_json, [run.best])}
        run.run_json.write_text(json.dumps(record))

    return change


@pytest.fixture
def synthetic(tmp_path: Path) -> Workspace:
    """A fresh workspace with a few synthetic faces and their masks."""
    workspace = Workspace(tmp_path / "ws")
    prepare(workspace, "synthetic", PrepareSettings(count=140))
    make_masks(workspace)
    return workspace


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a run `cnn`, shared by tests that only read it or add to it."""
    workspace = Workspace(tmp_path_factory.mktemp("trained"))
    prepare(workspace, "synthetic", PrepareSettings(count=280))
    make_masks(workspace)
    train(
        workspace, TrainConfig(epochs=2, lr=1e-3, batch_size=16, precision="fp32"), name="cnn", device="cpu"
    )
    return workspace
