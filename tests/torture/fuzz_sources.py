"""Damaged and forged sources for `prepare`: a line for the user or faces that fit together, nothing else.

    python tests/torture/fuzz_sources.py [--rounds 25000] [--seed 0] [--show]

Every round takes a small data set in one of its forms, damages it by its own seed, and prepares it in a process that is
watched: it may take SECONDS and MEMORY_MB, may end in a UserError of one line or in faces whose files agree with each
other, and may write into its workspace alone. A failing round is named; `--rounds 1 --seed N` repeats it.
"""

import argparse
import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fertool.errors import UserError
from fertool.prepare import PrepareSettings, prepare
from fertool.prepare.ferplus import read_ferplus
from fertool.workspace import SPLITS, Workspace

SECONDS = 20
MEMORY_MB = 1000
BATCH = 25  # rounds in one process
SUFFIXES = (".png", ".jpg", ".bmp", ".tiff", ".webp", ".pgm", ".ppm", ".gif", ".avif", ".jp2", ".ras")

Files = dict[str, bytes]
Random = random.Random


# --- small data sets in every form ------------------------------------------------------------------------


def encoded(suffix: str, number: int, kind: str = "grey") -> bytes:
    """A picture of noise."""
    noise = np.random.default_rng(number)
    if kind == "deep":
        pixels = noise.integers(0, 4096, (40, 36), dtype=np.uint16)
        return cv2.imencode(suffix if suffix in (".png", ".tiff", ".pgm") else ".png", pixels)[1].tobytes()
    if kind == "alpha":
        data = io.BytesIO()
        pixels = noise.integers(0, 256, (40, 36, 4), dtype=np.uint8)
        Image.fromarray(pixels, "RGBA").save(data, "TIFF" if number % 2 else "PNG")
        return data.getvalue()
    shape = (40, 36) if kind == "grey" and suffix != ".gif" else (40, 36, 3)
    pixels = noise.integers(0, 256, shape, dtype=np.uint8)
    if suffix in (".gif", ".avif"):
        data = io.BytesIO()
        turned = Image.Exif()
        turned[0x112] = 1 + number % 8
        Image.fromarray(pixels).save(data, suffix[1:].upper(), exif=turned)
        return data.getvalue()
    if suffix in (".pgm", ".ppm"):
        suffix = ".pgm" if pixels.ndim == 2 else ".ppm"
    return cv2.imencode(suffix, pixels)[1].tobytes()


def pictures(rng: Random) -> Files:
    """Folders of pictures, some of FER2013's names, some deep or with alpha."""
    top = rng.choice(["", "", "set/", "a/b/"])
    files = {}
    for label in ("happy", "sad"):
        for number in range(10):
            suffix = rng.choice(SUFFIXES)
            kind = rng.choice(["grey"] * 6 + ["colour", "deep", "alpha"])
            name = rng.choice([f"{number}", f"Training_{number}", f"fer000000{number}"])
            files[f"{top}{label}/{name}{suffix}"] = encoded(suffix, rng.randrange(10**6), kind)
    if rng.random() < 0.2:
        files["notes.txt"] = b"mine"
    return files


def table(rng: Random) -> bytes:
    """The challenge's csv with a few rows."""
    header = rng.choice(["emotion,pixels,Usage", "emotion, Usage, pixels", "emotion,pixels", "pixels"])
    columns = [column.strip() for column in header.split(",")]
    lines = [header]
    for usage, count in (("Training", 3), ("PublicTest", 1), ("PrivateTest", 1)):
        for code in list(range(7)) * count:
            pixels = " ".join(str(rng.randrange(256)) for _ in range(8)) + " 0" * 2296
            fields = {"emotion": str(code), "pixels": pixels, "Usage": usage}
            lines.append(",".join(fields[column] for column in columns))
    return "\n".join(lines).encode() + b"\n"


def zipped(files: Files, rng: Random) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def tarred(files: Files, rng: Random) -> bytes:
    data = io.BytesIO()
    with tarfile.open(
        fileobj=data, mode="w", format=rng.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    ) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name + ("é" * 120 if rng.random() < 0.02 else ""))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


def packed(data: bytes, rng: Random) -> bytes:
    return rng.choice([gzip.compress, bz2.compress, lzma.compress])(data)


# --- damage -----------------------------------------------------------------------------------------------

ODD_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)


def flipped(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def overwritten(data: bytes, rng: Random) -> bytes:
    """A number somewhere, preferably near the beginning or the end, replaced by an odd one."""
    size = rng.choice([1, 2, 4, 8])
    if len(data) <= size:
        return data
    where = rng.choice([min(len(data), 200), len(data)])
    at = rng.randrange(where - size + 1) if where > size else 0
    if rng.random() < 0.3:
        at = max(0, len(data) - size - rng.randrange(200))
    number = rng.choice(ODD_NUMBERS) % 2 ** (8 * size)
    return data[:at] + number.to_bytes(size, rng.choice(["little", "big"])) + data[at + size :]


def repeated(data: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    stop = min(len(data), start + rng.choice([1, 16, 512, 4096]))
    return data[:stop] + data[start:stop] * rng.choice([1, 3, 100]) + data[stop:]


def inserted(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice([1, 4, 512])) + data[at:]


def zeroed(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    count = rng.choice([1, 8, 512])
    return data[:at] + bytes(count) + data[at + count :]


DAMAGES: tuple[Callable[[bytes, Random], bytes], ...] = (
    flipped,
    cut,
    overwritten,
    overwritten,
    repeated,
    inserted,
    zeroed,
)


def damaged(data: bytes, rng: Random) -> bytes:
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data = rng.choice(DAMAGES)(data, rng)
    return data


ZEROS = zlib.compress(bytes(20_000_000))


def huge_png(rng: Random) -> bytes:
    """A whole PNG, its checksums right, that says it has any number of pixels."""
    width, height = (rng.choice([1, 3, 48, 3000, 40_000, 2**31 - 1]) for _ in range(2))
    bits, colour = rng.choice([(8, 0), (8, 2), (16, 2), (1, 0), (8, 6), (8, 3)])
    body = zlib.compress(bytes(rng.choice([0, 1000, 2_000_000])), 9)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)),
        (b"IDAT", body),
        (b"IEND", b""),
    ]
    if rng.random() < 0.3:
        chunks.insert(1, (b"zTXt", b"k\0\0" + ZEROS))
    parts = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def huge_others(rng: Random) -> bytes:
    """Headers of other formats that say they have any number of pixels."""
    width, height = (rng.choice([0, 1, 48, 3000, 40_000, 65_535]) for _ in range(2))
    jpeg = bytearray(encoded(".jpg", 1))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", height, width)
    bitmap = bytearray(encoded(".bmp", 1))
    bitmap[18:26] = struct.pack("<ii", width, rng.choice([height, -height]))
    gif = bytearray(encoded(".gif", 1))
    gif[6:10] = struct.pack("<HH", width, height)
    tiff = tiff_of(width, height, rng)
    maximum = rng.choice([0, 1, 100, 255, 4095, 65_535, 65_536, -1])
    text = (
        f"P{rng.randrange(1, 7)} {width} # {'x' * rng.choice([0, 100_000])}\n {height} {maximum}\n".encode()
    )
    return rng.choice([bytes(jpeg), bytes(bitmap), bytes(gif), tiff, text + bytes(rng.choice([0, 2000]))])


def tiff_of(width: int, height: int, rng: Random) -> bytes:
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, rng.choice([1, 8, 12, 16, 32, 64])),
        (259, 3, rng.choice([1, 5, 7, 8, 32773])), (262, 3, rng.choice([0, 1, 2, 3, 5])), (273, 4, 8),
        (277, 3, rng.choice([1, 2, 3, 4, 5])), (278, 4, height), (279, 4, rng.choice([0, 100, 2**31])),
        (338, 3, rng.choice([0, 1, 2])), (339, 3, rng.choice([1, 2, 3, 4])),
    ]  # fmt: skip
    body = rng.randbytes(2000)
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return (
        b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + entries + bytes(4)
    )


def odd_name(rng: Random) -> str:
    return rng.choice([
        "", "/", "\\", "a" * 65_000, "d/" * 30_000 + "x.png", "../out.png", "/etc/out.png", "C:\\out.png",
        "happy\\1.png", "happy/\x1b[31m.png", "happy/a\nb.png", "_" * 5000 + "x/1.png", "__MACOSX/happy/._1.png",
        "label/1.png", "$a_$/1.png", "happy/e\u0301.png", "happy/\u202egnp.png", "happy/.hidden.png", "happy/",
        "喜び/1.png", "happy/1.HEIC", "happy/1.PNG", "happy", "1.png", "train.csv", "test.csv", "fer2013.csv",
    ])  # fmt: skip


def odd_picture(rng: Random) -> bytes:
    choice = rng.randrange(4)
    if choice == 0:
        return huge_png(rng)
    if choice == 1:
        return huge_others(rng)
    if choice == 2:
        suffix = rng.choice(SUFFIXES)
        return damaged(
            encoded(suffix, rng.randrange(100), rng.choice(["grey", "colour", "deep", "alpha"])), rng
        )
    return rng.choice(
        [b"", b"\xff\xd8" * 1000, b"P5", b"#?RADIANCE\n", b"Pf\n9 9\n-1\n", b"<html>", b"GIF89a", b"BM"]
    )


def odd_zip(rng: Random) -> bytes:
    """A zip whose members are odd: links, encrypted, other ways of packing, sizes that lie, the same member often."""
    data = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(data, "w") as archive:
        warnings.simplefilter("ignore")
        for name, content in pictures(rng).items():
            archive.writestr(name, content)
        for _ in range(rng.randrange(1, 4)):
            name = odd_name(rng).replace("\0", "") or "x"
            if len(name) > 65_000:
                continue
            member = zipfile.ZipInfo(name)
            member.compress_type = rng.choice(
                [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
            )
            member.external_attr = rng.choice([0o120777, 0o100644, 0o040755, 0o010644, 0o020644]) << 16
            content = rng.choice([b"../x", odd_picture(rng), bytes(3_000_000), table(rng)])
            archive.writestr(member, content)
    changed = bytearray(data.getvalue())
    for _ in range(rng.randrange(3)):
        at = changed.rfind(b"PK\x01\x02", 0, rng.randrange(len(changed)) + 1)
        if at >= 0:
            field, size = rng.choice(
                [(6, 2), (8, 2), (10, 2), (20, 4), (24, 4), (28, 2), (30, 2), (38, 4), (42, 4)]
            )
            number = rng.choice(ODD_NUMBERS) % 2 ** (8 * size)
            changed[at + field : at + field + size] = number.to_bytes(size, "little")
    return bytes(changed)


def odd_tar(rng: Random) -> bytes:
    """A tar whose members are odd: links, devices, sizes that cannot be, long names, sparse files."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in pictures(rng).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    blocks = [data.getvalue().rstrip(b"\0")]
    blocks[0] += bytes(-len(blocks[0]) % 512)
    for _ in range(rng.randrange(1, 4)):
        blocks.append(tar_header(rng) + rng.randbytes(rng.choice([0, 512, 1024])))
    rng.shuffle(blocks)
    return b"".join(blocks) + bytes(rng.choice([0, 512, 1024, 10240]))


def tar_header(rng: Random) -> bytes:
    """A header with a right checksum."""
    header = bytearray(512)
    name = odd_name(rng).encode("utf-8", "surrogateescape")[:100]
    header[: len(name)] = name
    header[100:108] = b"0000644\0"
    sizes = [b"00000000000\0", b"00000001000\0", b"77777777777\0", b"-0000000001\0", b"\xff" * 12]
    sizes += [b"\x80" + bytes(7) + struct.pack(">I", 2**31), b"\xff" + b"\xff" * 9 + b"\xfe\x00"]
    header[124:136] = rng.choice(sizes)
    header[136:148] = b"00000000000\0"
    header[156:157] = rng.choice(list("0123456789xgLKSDV")).encode()
    link = odd_name(rng).encode()[:100]
    header[157 : 157 + len(link)] = link
    header[257:265] = rng.choice([b"ustar\x0000", b"ustar  \0"])
    if rng.random() < 0.3:
        header[345:500] = rng.randbytes(155)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


# --- the forms --------------------------------------------------------------------------------------------


def write_file(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def folder_of(folder: Path, files: Files) -> Path:
    root = folder / "set"
    root.mkdir()
    for name, content in files.items():
        with contextlib.suppress(OSError, ValueError):  # names that no file system takes
            path = root / name.replace("..", "").lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def with_odd_ones(files: Files, rng: Random) -> Files:
    for _ in range(rng.choice([1, 1, 2])):
        files[rng.choice([*files, odd_name(rng) or "x"])] = odd_picture(rng)
    return files


def folder_form(folder: Path, rng: Random) -> Path:
    return folder_of(folder, with_odd_ones(pictures(rng), rng))


FILE_FORMS: dict[str, tuple[str, Callable[[Random], bytes]]] = {
    "csv": ("fer2013.csv", lambda rng: damaged(table(rng), rng)),
    "packed csv": ("fer2013.csv.gz", lambda rng: damaged(packed(table(rng), rng), rng)),
    "csv in a zip": (
        "set.zip",
        lambda rng: zipped({"fer2013.csv": table(rng), "x.csv": damaged(table(rng), rng)}, rng),
    ),
    "zip": ("set.zip", lambda rng: damaged(zipped(pictures(rng), rng), rng)),
    "odd zip": ("set.zip", odd_zip),
    "odd pictures in a zip": (
        "set.zip",
        lambda rng: zipped(
            {name: data for name, data in with_odd_ones(pictures(rng), rng).items() if len(name) < 65_000},
            rng,
        ),
    ),
    "tar": ("set.tar", lambda rng: damaged(tarred(pictures(rng), rng), rng)),
    "odd tar": ("set.tar", odd_tar),
    "packed tar": ("set.tar.gz", lambda rng: damaged(packed(tarred(pictures(rng), rng), rng), rng)),
    "damaged tar, packed": ("set.tar.gz", lambda rng: packed(damaged(tarred(pictures(rng), rng), rng), rng)),
}


def source_of(folder: Path, rng: Random) -> Path:
    """One damaged source, written below `folder`."""
    if rng.random() < 0.15:
        return folder_form(folder, rng)
    name, make = FILE_FORMS[rng.choice(list(FILE_FORMS))]
    return write_file(folder, name, make(rng))


def votes_of(folder: Path, rng: Random) -> Path:
    names = [
        "neutral",
        "happiness",
        "surprise",
        "sadness",
        "anger",
        "disgust",
        "fear",
        "contempt",
        "unknown",
        "NF",
    ]
    lines = [",".join(["Usage", "Image name", *names])]
    lines += [
        f"Training,fer{row:07d}.png," + ",".join(str(rng.randrange(10)) for _ in names) for row in range(30)
    ]
    data = "\n".join(lines).encode()
    if rng.random() < 0.5:
        data = data.replace(b"3", rng.choice([b"9" * 20, b"-1", b"", b"x", "²".encode(), b"1.5", b'"']), 1)
    return write_file(folder, "votes.csv", damaged(data, rng) if rng.random() < 0.7 else data)


# --- rounds -----------------------------------------------------------------------------------------------


def try_round(source: Path, rng: Random, sandbox: Path) -> str:
    """Prepare one damaged source; return how it ended. Raises AssertionError where it may not end so."""
    workspace = Workspace(sandbox / "data")
    settings = {"size": rng.choice([16, 48, 48, 100])}
    if rng.random() < 0.1:
        settings["classes"] = ["happy", rng.choice(["sad", "label", "e\u0301", "$a_$"])]
    before = listing(sandbox)
    try:
        if rng.random() < 0.15:
            settings["ferplus"] = votes_of(sandbox, rng)
            before = listing(sandbox)
            read_ferplus(settings["ferplus"])
        prepare(workspace, source, PrepareSettings(**settings))
    except UserError as error:
        message = str(error)
        assert len(message.splitlines()) == 1 and len(message) < 2000, f"no one line: {message[:300]!r}"
        message.encode()
        assert not workspace.dataset_json.exists(), "refused, and yet there are faces"
        return "refused"
    finally:
        inside = {path for path in listing(sandbox) if path.is_relative_to(workspace.root)}
        assert listing(sandbox) - inside == before, f"written: {listing(sandbox) - inside - before}"
        assert not [path for path in inside if ".prepare-" in str(path) or path.suffix == ".tmp"]
    for split in SPLITS:
        count = workspace.dataset()["splits"][split]["count"]
        assert count == len(workspace.load_faces(split)) == len(workspace.load_labels(split)) > 0
    return "prepared"


def listing(folder: Path) -> set[Path]:
    return {Path(parent, name) for parent, names, files in os.walk(folder) for name in (*names, *files)}


def _too_long(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"over {SECONDS} s")


def try_rounds(seeds: range, out: io.TextIOBase) -> None:
    """Rounds one after another, a line each: the seed, and how it ended."""
    signal.signal(signal.SIGALRM, _too_long)
    for seed in seeds:
        sandbox = Path(tempfile.mkdtemp(prefix="fuzz-"))
        rng = Random(seed)
        out.write(f"{seed} ")
        out.flush()
        try:
            source = source_of(sandbox, rng)
            signal.alarm(SECONDS)
            ended = try_round(source, rng, sandbox)
        except BaseException as error:
            frames = traceback.extract_tb(error.__traceback__)[-3:]
            at = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
            ended = f"FAILED: {type(error).__name__}: {str(error)[:300]!r} at {at}"
        finally:
            signal.alarm(0)
        shutil.rmtree(sandbox, ignore_errors=True)
        out.write(f"{ended} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}\n")
        out.flush()


def watched(seeds: range) -> Iterator[tuple[int, str, int]]:
    """Rounds in a process of their own: seed, how it ended, and the most MB that the process had by then."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)
        try:
            with os.fdopen(write_end, "w") as out:
                try_rounds(seeds, out)
        finally:
            os._exit(0)  # not what the parent does next
    os.close(write_end)
    with os.fdopen(read_end) as lines:
        text = lines.read()
    _, status = os.waitpid(child, 0)
    for line in text.splitlines():
        seed, _, rest = line.partition(" ")
        ended, _, megabytes = rest.rpartition(" ")
        if not megabytes.isdigit():
            yield int(seed), f"FAILED: the process died (status {status})", 0
        else:
            yield int(seed), ended, int(megabytes)


def main() -> int:
    """Run the rounds, print what failed and a count, and return 1 where a round failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=25_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="print every round")
    arguments = parser.parse_args()
    ends: Counter[str] = Counter()
    most_mb, failed = 0, 0
    stop = arguments.seed + arguments.rounds
    start = arguments.seed
    while start < stop:
        done = start
        for seed, ended, megabytes in watched(range(start, min(stop, start + BATCH))):
            done = seed + 1
            most_mb = max(most_mb, megabytes)
            if megabytes > MEMORY_MB:
                ended = f"FAILED: {megabytes} MB"
            if ended.startswith("FAILED"):
                failed += 1
                print(f"seed {seed}: {ended}", flush=True)
            elif arguments.show:
                print(f"seed {seed}: {ended}, {megabytes} MB")
            ends[ended.split()[0].rstrip(":")] += 1
        if done == start:
            print(f"seed {start}: FAILED: the process said nothing")
            failed += 1
            done += 1
        start = done
    print(f"{sum(ends.values()):,} sources: {dict(ends)}; at most {most_mb} MB a process")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
