"""Pictures in every format, with its bits, its alpha and its orientation, come out as they look."""

import io
import threading

import cv2
import numpy as np
import pytest
from PIL import Image

from fertool.errors import UserError
from fertool.prepare import PrepareSettings, prepare
from fertool.prepare.sources import read_pictures
from fertool.prepare.sources.decode import decode_face
from fertool.prepare.sources.picture_header import read_header
from fertool.workspace import SPLITS, Workspace

RAMP = np.add.outer(np.arange(48), np.arange(48)) / 94  # 0 to 1


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "data")


def decoded(data, size=48):
    return decode_face(data, read_header(data, "it"), size, "it")


def stored(workspace):
    return np.concatenate([workspace.load_faces(split) for split in SPLITS])


def by_pillow(picture, form, **options):
    data = io.BytesIO()
    picture.save(data, form, **options)
    return data.getvalue()


def folders(data, suffix):
    """The same picture six times, once in each class of each split."""
    return {f"{split}/{name}/1{suffix}": data for split in SPLITS for name in ("happy", "sad")}


# --- bits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("maximum", [1, 3, 100, 254, 300, 4095, 65534])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_a_pgm_is_scaled_by_its_own_maximum(maximum, kind):
    values = np.rint(RAMP * maximum).astype(int)
    if kind in (3, 6):
        values = np.repeat(values[..., None], 3, axis=2)
    header = f"P{kind}\n# made by hand\n48 48\n{maximum}\n".encode()
    if kind in (2, 3):
        body = " ".join(map(str, values.ravel())).encode()
    else:
        body = values.astype(">u2" if maximum > 255 else np.uint8).tobytes()
    face = decoded(header + body)
    wanted = np.rint(values[..., 0] if kind in (3, 6) else values) * 255 / maximum
    assert np.abs(face - wanted).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_pictures_of_16_bits_are_scaled_by_what_the_set_uses(forms, workspace, suffix, bits):
    values = (RAMP * (2**bits - 1)).astype(np.uint16)
    dark = forms.picture(values // 2, suffix)
    files = folders(dark, suffix) | {f"val/happy/bright{suffix}": forms.picture(values, suffix)}
    summary = prepare(workspace, forms.tree(files))
    faces = stored(workspace).astype(int)
    assert sorted(set(faces.max(axis=(1, 2)))) == [127, 255]
    assert any(f"use {bits} of them" in note for note in summary.notes) == (bits < 16)


def test_pictures_of_8_bits_beside_those_of_16_stay_as_they_are(forms, workspace):
    files = folders(forms.picture((RAMP * 4095).astype(np.uint16)), ".png")
    files["train/sad/eight.png"] = forms.picture((RAMP * 255).astype(np.uint8))
    prepare(workspace, forms.tree(files))
    assert np.abs(stored(workspace) - RAMP * 255).max() <= 1.01


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (by_pillow(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), ".tif"),
        (by_pillow(Image.fromarray((RAMP * 99).astype(np.int32)), "TIFF"), ".tif"),
        (b"Pf\n48 48\n-1.0\n" + RAMP.astype("<f4").tobytes(), ".pfm"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 48 +X 48\n", ".hdr"),
    ],
)
def test_fractions_have_a_message_of_their_own(forms, workspace, data, suffix):
    with pytest.raises(UserError, match="floating-point"):
        prepare(workspace, forms.tree(folders(data, suffix)))


# --- alpha ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["TIFF", "PNG", "AVIF", "JPEG2000"])
def test_alpha_is_dropped_and_colours_stay(form):
    pixels = np.empty((48, 48, 4), np.uint8)
    pixels[...] = 200, 100, 50, 0
    pixels[..., 3] = np.maximum(RAMP * 255, 1)
    face = decoded(by_pillow(Image.fromarray(pixels, "RGBA"), form))
    assert np.abs(face.astype(int) - [200, 100, 50]).max() <= 2


def test_a_grey_tiff_with_alpha_is_grey():
    pixels = np.stack([(RAMP * 255), np.full((48, 48), 9)], axis=2).astype(np.uint8)
    assert np.array_equal(decoded(by_pillow(Image.fromarray(pixels, "LA"), "TIFF")), pixels[..., 0])


# --- orientation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "AVIF"])
def test_pictures_are_turned_as_they_say(form, orientation):
    upright = np.zeros((48, 48), np.uint8)
    upright[:12, :12], upright[:12, -12:], upright[-12:, :12] = 250, 170, 90
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }  # fmt: skip
    tag = Image.Exif()
    tag[0x112] = orientation
    data = by_pillow(Image.fromarray(np.ascontiguousarray(turned[orientation])), form, exif=tag)
    corners = decoded(data)[[6, 6, -6, -6], [6, -6, 6, -6]].astype(int)
    assert np.abs(corners - [250, 170, 90, 0]).max() <= 12


# --- files and names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPG", ".JPEG", ".Png", ".TIF"])
def test_suffixes_in_any_spelling_are_pictures(forms, workspace, suffix):
    data = forms.picture(forms.faces(1)[0], ".jpg" if suffix.lower()[1] == "j" else suffix.lower())
    summary = prepare(workspace, forms.tree(folders(data, suffix)))
    assert sum(split["count"] for split in summary.data["splits"].values()) == 6


def test_what_is_not_taken_is_counted_by_suffix(forms, workspace):
    files = forms.emotion_folders(4) | {f"happy/{number}.heic": b"x" for number in range(7)}
    files |= {"sad/Thumbs.db": b"x", "README": b"x"}
    summary = prepare(workspace, forms.tree(files))
    note = next(note for note in summary.notes if "no pictures" in note)
    assert "9 files" in note and "7 .heic" in note and "1 .db" in note and "1 without suffix" in note
    with pytest.raises(UserError, match=r"7 \.heic"):
        prepare(workspace, forms.tree({f"happy/{number}.heic": b"x" for number in range(7)}, "heic"))


def test_a_large_photograph_is_a_face_like_any_other(forms, workspace):
    photograph = np.repeat(cv2.resize((RAMP * 255).astype(np.uint8), (3000, 4000))[..., None], 3, axis=2)
    photograph[..., 0] //= 2
    files = folders(forms.picture(forms.faces(1)[0]), ".png") | {
        "train/happy/large.jpg": forms.picture(photograph, ".jpg")
    }
    summary = prepare(workspace, forms.tree(files), PrepareSettings(size=32))
    assert summary.data["image_shape"] == [32, 32, 3]


def test_ctrl_c_waits_for_no_picture():
    release = threading.Event()
    with pytest.raises(KeyboardInterrupt), read_pictures._threads() as threads:
        futures = [threads.submit(release.wait, 60) for _ in range(100)]
        raise KeyboardInterrupt
    assert not futures[0].done(), "the end was waited for"
    assert futures[-1].cancelled()
    release.set()
