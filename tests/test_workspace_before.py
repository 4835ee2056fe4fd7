"""A workspace that an earlier version of fertool made is read, found up to date, and reported.

`workspace_before.tar.xz` was written by commit f43e134, the last one before the package got its rooms:

    fertool prepare synthetic --count 70 --evidence mouth && fertool masks
    fertool train --model tiny_network:tiny --weights none --image-size 48 --channels 1 --epochs 2 --lr 1e-2 \
        --seeds 0-1 --precision fp32
    fertool score --suite all --target label; fertool score --suite attention --grid 7
    fertool score --suite classification --tta flip
"""

import json
import sys
import tarfile
from pathlib import Path

import pytest

from fertool.explain import ExplainSettings, explain
from fertool.masks import make_masks
from fertool.prepare import PrepareSettings, prepare
from fertool.report import write_report
from fertool.report.settings import ReportSettings
from fertool.runtime.files import read_json
from fertool.runtime.reading import RECORD_HASH
from fertool.score import ScoreSettings, score
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

ARCHIVE = Path(__file__).with_name("workspace_before.tar.xz")


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)  # where the runs' own network lies
    monkeypatch.delitem(sys.modules, "tiny_network", raising=False)
    return Workspace("data")


def contents(workspace: Workspace) -> dict[Path, bytes]:
    """Every file that a stage made, but for locks, caches and the page."""
    return {
        path: without_products(path.read_bytes()) if "scores" in path.parts else path.read_bytes()
        for path in sorted(workspace.root.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and "report" not in path.parts
    }


def without_products(content: bytes) -> bytes:
    """Figures without the hashes of the files beside them.

    The suite classification is scored twice below, without views and with them, so its record is written anew, and
    records of now hold these hashes.
    """
    if not content.startswith(b"{"):
        return content
    return json.dumps(
        {key: value for key, value in json.loads(content).items() if key not in ("products", RECORD_HASH)}
    ).encode()


def test_everything_is_up_to_date_and_reported(before: Workspace) -> None:
    made_before = contents(before)
    runs = before.runs()
    prepare(before, "synthetic", PrepareSettings(count=70, evidence="mouth"))
    make_masks(before)
    for run in runs:
        config = run.config()["config"]
        config = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
        summary = train(before, TrainConfig(**config), device="cpu")
        assert summary.notes == [f"{run.name}: was done already; --force trains it again"]
    notes = explain(before, ExplainSettings(["gradcam"], target="label")).notes
    assert [note.partition(": ")[0] for note in notes if "up to date" in note] == [
        str(run.heatmaps("gradcam", "label", "test")) for run in runs
    ]
    scored = score(before, ScoreSettings(suites=["all"], target="label"), device="cpu").data
    score(before, ScoreSettings(suites=["attention"], grid=7), device="cpu")
    score(before, ScoreSettings(suites=["classification"], tta="flip"), device="cpu")
    page = write_report(before, ReportSettings(only=("page", "tables")))
    assert not any("left out" in note for note in page.notes)
    assert contents(before) == made_before
    stored = read_json(runs[0].scores("classification", "test"))
    assert scored["classification"][0]["accuracy"] == stored["accuracy"]
    assert all(run.name in before.report.read_text() for run in runs)
