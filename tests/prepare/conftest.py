"""Small data sets in every form that `prepare` reads."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from fertool.prepare.emotions import EMOTIONS


class Forms:
    """Writes data sets below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def faces(count: int, seed: int = 0, size: int = 48) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (count, size, size), dtype=np.uint8)

    @staticmethod
    def challenge_rows(per_usage: Mapping[str, int]) -> list[tuple[int, str]]:
        """(emotion, Usage) of each row: so many of each emotion in each usage."""
        return [
            (code, usage) for usage, count in per_usage.items() for _ in range(count) for code in range(7)
        ]

    @staticmethod
    def csv_text(faces: np.ndarray, rows: list[tuple[int, str]], header: str = "emotion,pixels,Usage") -> str:
        lines = [header]
        columns = [column.strip() for column in header.split(",")]
        for face, (code, usage) in zip(faces, rows, strict=True):
            fields = {"emotion": str(code), "pixels": " ".join(map(str, face.ravel())), "Usage": usage}
            lines.append(",".join(fields[column] for column in columns))
        return "\n".join(lines) + "\n"

    def tree(self, files: Mapping[str, bytes], name: str = "set") -> Path:
        """A folder with these files."""
        root = self.folder / name
        for file, content in files.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(content)
        return root

    def zip(self, files: Mapping[str, bytes], name: str = "set.zip") -> Path:
        with zipfile.ZipFile(self.folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, content in files.items():
                archive.writestr(file, content)
        return self.folder / name

    def tar(self, files: Mapping[str, bytes], name: str = "set.tar.gz") -> Path:
        with tarfile.open(self.folder / name, "w:gz" if name.endswith("gz") else "w") as archive:
            for file, content in files.items():
                member = tarfile.TarInfo(file)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return self.folder / name

    @staticmethod
    def picture(pixels: np.ndarray, suffix: str = ".png") -> bytes:
        """`pixels`, grey or RGB, encoded."""
        stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        encoded, data = cv2.imencode(suffix, stored)
        assert encoded
        return data.tobytes()

    def fer2013_folders(
        self, faces: np.ndarray, rows: list[tuple[int, str]], top: str = ""
    ) -> dict[str, bytes]:
        """`train/<emotion>/Training_<row>.png` and so on, a picture a row."""
        folders = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}
        return {
            f"{top}{folders[usage]}/{EMOTIONS[code]}/{usage}_{row}.png": self.picture(face)
            for row, (face, (code, usage)) in enumerate(zip(faces, rows, strict=True))
        }

    def emotion_folders(self, per_class: int, classes=EMOTIONS, top: str = "") -> dict[str, bytes]:
        """`<emotion>/<number>.png`, all different."""
        faces = iter(self.faces(per_class * len(classes)))
        return {
            f"{top}{name}/{number:03d}.png": self.picture(next(faces))
            for name in classes
            for number in range(per_class)
        }


@pytest.fixture
def forms(tmp_path: Path) -> Forms:
    folder = tmp_path / "sources"
    folder.mkdir()
    return Forms(folder)
