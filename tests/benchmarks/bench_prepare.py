"""FER2013 from its zip, from the challenge's csv and from Parquet: the same faces, and the seconds that each takes.

    python tests/benchmarks/bench_prepare.py [fer2013.zip]

Without the zip of FER2013's pictures nothing is measured. The csv and the Parquet files are written from it first, into
a temporary folder (400 MB), Parquet with the column types and the metadata of the hub: pictures as a struct of bytes
and path, names of classes in another order than the challenge's.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from targets import missed

from fertool.prepare.emotions import EMOTIONS
from fertool.runtime.files import file_sha256
from fertool.workspace import SPLITS, Workspace

HUB = sorted(EMOTIONS)
PARQUET = {"Training": "train", "PublicTest": "publicTest", "PrivateTest": "privateTest"}
SHARED = Path(__file__).resolve().parents[3] / "shared" / "fer2013" / "fer2013.zip"
MOST_SECONDS = 15
COUNTS = (28_709, 3_589, 3_589)
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def rows_of(archive: zipfile.ZipFile) -> list[tuple[str, str, str]]:
    """Usage, emotion and file of each face, in the challenge's order."""
    found = {}
    for name in archive.namelist():
        path = PurePosixPath(name)
        if path.suffix == ".jpg":
            usage, row = path.stem.split("_")
            found[int(row)] = usage, path.parent.name, name
    return [found[row] for row in sorted(found)]


def write_csv(archive: zipfile.ZipFile, rows: list[tuple[str, str, str]], target: Path) -> Path:
    with target.open("w") as handle:
        handle.write("emotion,pixels,Usage\n")
        for usage, emotion, name in rows:
            pixels = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_GRAYSCALE)
            handle.write(f"{EMOTIONS.index(emotion)},{' '.join(map(str, pixels.ravel().tolist()))},{usage}\n")
    return target


def write_parquet(archive: zipfile.ZipFile, rows: list[tuple[str, str, str]], folder: Path) -> Path:
    folder.mkdir()
    features = {"image": {"_type": "Image"}, "label": {"names": HUB, "_type": "ClassLabel"}}
    for usage, part in PARQUET.items():
        chosen = [row for row in rows if row[0] == usage]
        pictures = [{"bytes": archive.read(name), "path": PurePosixPath(name).name} for _, _, name in chosen]
        labels = [HUB.index(emotion) for _, emotion, _ in chosen]
        table = pa.table({"image": pa.array(pictures, STRUCT), "label": pa.array(labels, pa.int64())})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, folder / f"{part}-00000-of-00001.parquet", row_group_size=1000)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("zip", type=Path, nargs="?", default=SHARED)
    source = parser.parse_args().zip
    if not source.exists():
        sys.exit(f"{source}: no such file; give the zip of FER2013's pictures")
    failed = False
    hashes = {}
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(source) as archive:
        folder, rows = Path(name), rows_of(archive)
        sources = {
            "zip": source,
            "csv": write_csv(archive, rows, folder / "fer2013.csv"),
            "Parquet": write_parquet(archive, rows, folder / "data"),
        }
        for form, path in sources.items():
            workspace = Workspace(folder / form)
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "fertool", "prepare", path, "-w", workspace.root, "--json"],
                check=True,
                capture_output=True,
            )
            seconds = time.perf_counter() - start
            counts = tuple(len(workspace.load_faces(split)) for split in SPLITS)
            labels = [workspace.load_labels(split).tolist() for split in SPLITS]
            hashes[form] = [file_sha256(workspace.faces(split)) for split in SPLITS], labels
            same = counts == COUNTS and hashes[form] == hashes["zip"]
            failed |= missed(f"{form}: {counts} faces, the same as from the zip", same)
            failed |= missed(f"{form}: {seconds:.1f} s, at most {MOST_SECONDS}", seconds <= MOST_SECONDS)
    sys.exit(failed)


if __name__ == "__main__":
    main()
