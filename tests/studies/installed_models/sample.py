"""A fixed stratified sample of FER2013 as a folder of pictures: python sample.py fer2013.zip FOLDER.

Test has 20 faces a class, val 10, train 100, drawn by seed 0; names keep the challenge's splits.
"""

import random
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

FACES_A_CLASS = {"Training": 100, "PublicTest": 10, "PrivateTest": 20}


def main(archive: Path, folder: Path) -> None:
    pictures = defaultdict(list)
    with zipfile.ZipFile(archive) as faces:
        for name in sorted(faces.namelist()):
            if name.endswith(".jpg"):
                pictures[Path(name).parent.name, Path(name).name.split("_")[0]].append(name)
        for (_, usage), names in sorted(pictures.items()):
            for name in random.Random(0).sample(names, FACES_A_CLASS[usage]):
                faces.extract(name, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
