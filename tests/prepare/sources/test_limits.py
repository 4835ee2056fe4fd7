"""Sources that would fill the memory, never end, or reach outside: refused in a line, before anything is unpacked."""

import gzip
import io
import os
import socket
import struct
import subprocess
import sys
import tarfile
import textwrap
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from fertool.prepare import prepare
from fertool.workspace import SPLITS, Workspace
from tests.prepare.refusals import assert_refused

MOST_MB = 300


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "data")


def png(width, height, body=b""):
    """A PNG with right checksums that says it has so many pixels."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(body, 1)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def tiff(width, height):
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, 5),
        (262, 3, 1),
        (273, 4, 8),
        (278, 4, height),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


# --- what is no file --------------------------------------------------------------------------------------


def test_devices_pipes_and_sockets_are_no_source(workspace, tmp_path):
    assert_refused(workspace, Path("/dev/zero"), "/dev/zero", "not a file")
    os.mkfifo(tmp_path / "pipe")
    assert_refused(workspace, tmp_path / "pipe", "pipe", "not a file")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        assert_refused(workspace, tmp_path / "socket", "not a file")
    assert_refused(workspace, tmp_path / "pipe" / "x", "no such file")
    assert_refused(workspace, tmp_path / ("x" * 300), "cannot be read")


def test_devices_and_pipes_in_a_folder_are_left_out(forms, workspace):
    tree = forms.tree(forms.emotion_folders(4))
    os.mkfifo(tree / "happy" / "pipe.png")
    splits = prepare(workspace, tree).data["splits"].values()
    assert sum(split["count"] for split in splits) == 28


def test_votes_are_a_regular_file_of_their_size(forms, workspace):
    tree = forms.tree(forms.emotion_folders(4))
    assert_refused(workspace, tree, "/dev/zero", ferplus=Path("/dev/zero"))
    votes = forms.folder / "votes.csv"
    with votes.open("wb") as handle:
        handle.truncate(65 * 2**20)
    assert_refused(workspace, tree, "votes.csv", "64 MB", ferplus=votes)


# --- pictures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapped", ["tree", "zip", "tar"])
def test_pictures_of_any_size_are_refused_by_their_header(forms, workspace, wrapped):
    files = forms.emotion_folders(4)
    files["happy/large.png"] = png(60_000, 50_000)
    assert_refused(
        workspace, getattr(forms, wrapped)(files), "large.png", "60,000 x 50,000 pixels", "million"
    )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.tif", tiff(40_000, 40_000)),
        ("x.pgm", b"P5 40000 40000 255\n" + bytes(100)),
        ("x.ppm", b"P6\n# a remark\n40000 40000\n65535\n"),
        ("x.gif", b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + b"\x80\0\0" + bytes(6) + b";"),
        (
            "x.bmp",
            b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, 30_000, -30_000, 1, 24, 0, 0, 0, 0, 0, 0),
        ),
        ("x.webp", b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\0\xff\xff\0"),
    ],
)
def test_every_format_tells_its_size_first(forms, workspace, name, data):
    assert_refused(workspace, forms.tree({**forms.emotion_folders(4), f"happy/{name}": data}), name)


def test_a_picture_too_small_for_a_face_is_named(forms, workspace):
    files = {**forms.emotion_folders(4), "happy/line.png": forms.picture(np.zeros((1, 3000), np.uint8))}
    assert_refused(workspace, forms.tree(files), "happy/line.png", "3,000 x 1 pixels")


def test_faces_that_would_fill_the_memory_are_refused(forms, workspace, monkeypatch):
    real = os.sysconf
    monkeypatch.setattr(os, "sysconf", lambda name: 1000 if name == "SC_PHYS_PAGES" else real(name))
    assert_refused(workspace, forms.tree(forms.emotion_folders(4)), "--size", size=1024)


# --- archives ---------------------------------------------------------------------------------------------


def zip_with(forms, name, data, *, mode=0o100644, method=zipfile.ZIP_DEFLATED):
    source = forms.zip(forms.emotion_folders(4))
    with zipfile.ZipFile(source, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        member.compress_type = method
        archive.writestr(member, data)
    return source


@pytest.mark.parametrize("name", ["d/" * 30_000 + "x.png", "a" * 60_000, "happy/" + "a" * 300 + ".png"])
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_names_and_depths_have_an_end(forms, workspace, name, form):
    assert_refused(workspace, getattr(forms, form)({**forms.emotion_folders(4), name: b""}), "is too long")


def test_folders_have_an_end(forms, workspace):
    tree = forms.tree(forms.emotion_folders(4))
    (tree / "happy" / "/".join(["d"] * 60)).mkdir(parents=True)
    assert_refused(workspace, tree, "is too long")


def test_links_in_a_zip_are_not_unpacked_to_see_where_they_lead(forms, workspace):
    source = zip_with(forms, "happy/link.png", bytes(60 * 2**20), mode=0o120777)
    assert_refused(workspace, source, "happy/link.png", "link")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_members_packed_to_unpack_at_once_are_refused(forms, workspace, method):
    assert_refused(
        workspace, zip_with(forms, "happy/x.png", bytes(2**20), method=method), "happy/x.png", "unpack it"
    )


def test_zip_members_that_are_encrypted_or_nameless(forms, workspace):
    source = zip_with(forms, "happy/link.png", b"../x", mode=0o120777)
    data = bytearray(source.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    source.write_bytes(data)
    assert_refused(workspace, source, "happy/link.png", "encrypted")
    source = zip_with(forms, "nameless", b"")
    data = source.read_bytes()
    at = data.rindex(b"PK\x01\x02")
    source.write_bytes(data[:at] + data[at:].replace(b"nameless", b"/" * 8))
    assert_refused(workspace, source, "no name")


def test_a_directory_of_more_files_than_any_data_set_is_not_read(forms, workspace):
    source = forms.zip(forms.emotion_folders(4))
    with source.open("r+b") as handle:
        data = handle.read()
        end = bytearray(data[data.rindex(b"PK\x05\x06") :])
        handle.truncate(10**8)
        handle.seek(0, os.SEEK_END)
        end[12:16] = struct.pack("<I", 95 * 10**6)
        handle.write(end)
    assert_refused(workspace, source, "over 2,000,000 files")


def tar_member(size_field, kind=b"0", name=b"happy/x.png"):
    """A header with a right checksum."""
    header = bytearray(512)
    header[: len(name)] = name
    header[124:136] = size_field
    header[156:157] = kind
    header[257:265] = b"ustar  \0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (b"0", b"\xff" * 11 + b"\x00"),  # -256
        *((kind, b"\xff" * 10 + b"\xfc\x00") for kind in (b"0", b"L", b"x")),  # -1024
        *((kind, b"\x80" + bytes(3) + b"\x7f" * 8) for kind in (b"0", b"L", b"x")),
        *((kind, b"77777777777\0") for kind in (b"0", b"L", b"x")),
    ],
)
def test_tar_members_whose_size_cannot_be(forms, workspace, kind, size, packed):
    data = tar_member(size, kind) + forms.tar(forms.emotion_folders(4), "set.tar").read_bytes()
    (forms.folder / "set.tar").write_bytes(gzip.compress(data) if packed else data)
    assert_refused(workspace, forms.folder / "set.tar", "set.tar")


def test_a_picture_that_many_hard_links_stand_for_is_read_once(forms, workspace):
    picture = forms.picture(forms.faces(1)[0])
    with tarfile.open(forms.folder / "set.tar.gz", "w:gz") as archive:
        files = {
            f"{split}/{name}": data for split in SPLITS for name, data in forms.emotion_folders(1).items()
        }
        for name, data in {**files, "train/happy/own.png": picture}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for number in range(300):
            link = tarfile.TarInfo(f"train/happy/link{number}.png")
            link.type, link.linkname = tarfile.LNKTYPE, "train/happy/own.png"
            archive.addfile(link)
    splits = prepare(workspace, forms.folder / "set.tar.gz").data["splits"].values()
    assert sum(split["count"] for split in splits) == 21 + 301


BOMBS = """
import sys
from pathlib import Path
from fertool.errors import UserError
from fertool.prepare import PrepareSettings, prepare
from fertool.workspace import Workspace

for source in sys.argv[1:]:
    try:
        prepare(Workspace(source + ".data"), source, PrepareSettings())
        print("prepared", end=" ")
    except UserError as error:
        print("refused", end=" ")
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024)
"""


def test_bombs_of_all_kinds_take_little_memory(forms, tmp_path):
    """In one process: what it takes at most, after all of them."""

    def bomb(name, data):
        (forms.folder / name).write_bytes(data)
        return str(forms.folder / name)

    good = forms.emotion_folders(4)
    lying = bytearray(forms.zip({**good, "happy/x.png": bytes(300 * 2**20)}, "lying.zip").read_bytes())
    at = lying.rindex(b"happy/x.png") - 46
    lying[at + 24 : at + 28] = struct.pack("<I", 100)
    large = png(5000, 5000, bytes(5000 * (5000 * 3 + 1)))
    header = b"emotion,pixels,Usage\n0,"
    sources = [
        bomb("lying.zip", bytes(lying)),
        str(
            forms.zip(
                {**good, **{f"happy/{number}.png": png(30_000, 30_000) for number in range(300)}}, "png.zip"
            )
        ),
        str(forms.tar({**good, **{f"happy/{number}l.png": large for number in range(1)}}, "large.tar")),
        bomb("row.csv.gz", gzip.compress(header + b"1 " * 2**25, 1)),
        bomb("long.tar.gz", gzip.compress(tar_member(b"17777777777\0", b"L") + bytes(2**26), 1)),
        str(
            forms.zip(
                {**good, **{f"{number}/" + "d/" * 18 + "x": b"" for number in range(8_000)}}, "deep.zip"
            )
        ),
    ]
    script = tmp_path / "bombs.py"
    script.write_text(textwrap.dedent(BOMBS))
    run = subprocess.run(
        [sys.executable, str(script), *sources], capture_output=True, text=True, check=True, timeout=300
    )
    *ends, most_mb = run.stdout.split()
    assert ends == ["refused", "refused", "prepared", "refused", "refused", "refused"]
    assert int(most_mb) < MOST_MB
