import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fertool.errors import UserError
from fertool.explain import ExplainSettings, explain
from fertool.explain.gallery import GalleryColumn, draw_lots, gallery_figure
from fertool.explain.overlay import outline_regions, png_bytes, show_face, show_heat
from fertool.masks.region_colours import REGION_COLOURS
from fertool.masks.regions import REGIONS
from fertool.workspace import Workspace

FLAT = np.full((48, 48), 128, np.uint8)


@pytest.fixture
def workspace(trained: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the trained workspace: other tests count on which heatmaps that one has."""
    return Workspace(shutil.copytree(trained.root, tmp_path / "copy"))


def rendered(draw) -> np.ndarray:
    """The picture that `draw` puts on axes that fill the picture: RGB 0..1, (200, 200, 3)."""
    figure = Figure(figsize=(2, 2))
    axes = figure.add_axes((0, 0, 1, 1), frameon=False)
    draw(axes)
    picture = cv2.imdecode(np.frombuffer(png_bytes(figure, 100), np.uint8), cv2.IMREAD_COLOR)
    return picture[:, :, ::-1] / 255


def test_heat_grows_lighter_evenly_so_that_it_survives_a_grey_print() -> None:
    ramp = np.linspace(0, 3, 24)[None].repeat(24, 0)
    light = rendered(lambda axes: show_heat(axes, FLAT, ramp)) @ [0.299, 0.587, 0.114]
    steps = np.diff(light[100, 5:-5:10])
    assert (steps > 0).all()
    assert steps.max() < 4 * np.median(steps)


def test_heat_lies_where_the_map_has_it_and_colour_in_it_is_heat_alone() -> None:
    heat = np.zeros((4, 4))
    heat[0, 3] = 1
    red_face = np.zeros((48, 48, 3), np.uint8)
    red_face[..., 0] = 200
    picture = rendered(lambda axes: show_heat(axes, red_face, heat))
    light = picture.sum(axis=2)
    assert light[20, 180] > 2 * light[180, 20]
    cold = picture[180, 20]
    assert np.ptp(cold) < 0.02


def test_a_face_without_heat_stays_as_light_as_it_is() -> None:
    bare = rendered(lambda axes: show_face(axes, FLAT))
    assert np.abs(rendered(lambda axes: show_heat(axes, FLAT, np.zeros((7, 7)))) - bare).max() < 0.01
    corner = np.zeros((7, 7))
    corner[0, 0] = 1
    assert np.abs(rendered(lambda axes: show_heat(axes, FLAT, corner)) - bare)[100:, 100:].max() < 0.01


def test_outlines_lie_on_the_edge_of_their_region_in_its_colour() -> None:
    regions = np.full((48, 48), REGIONS.index("face contour"), np.uint8)
    regions[24:36, 12:36] = REGIONS.index("mouth")

    def draw(axes) -> None:
        show_face(axes, FLAT)
        outline_regions(axes, regions)

    picture = rendered(draw)
    near = np.abs(picture - to_rgb(REGION_COLOURS["mouth"])).max(axis=2) < 0.15
    rows, columns = np.nonzero(near)
    assert np.abs(np.array([rows.min(), rows.max()]) - [100, 150]).max() <= 4
    assert np.abs(np.array([columns.min(), columns.max()]) - [50, 150]).max() <= 4
    assert not near[110:140, 60:140].any()


def test_lots_take_as_many_of_each_class_as_there_are() -> None:
    labels = np.array([0] * 9 + [1] + [2] * 5)
    rows = draw_lots(labels, 3)
    assert labels[rows].tolist() == [0, 0, 1, 2, 2]
    assert len(set(rows.tolist())) == 5
    assert np.array_equal(rows, draw_lots(labels, 3))


@pytest.mark.parametrize("faces_across", [False, True])
def test_rows_of_faces_columns_of_explainers_or_the_other_way_round(faces_across: bool) -> None:
    faces, labels = np.stack([FLAT] * 3), np.array([0, 1, 1])
    columns = [
        GalleryColumn("one", np.ones((3, 7, 7)), np.array([0, 0, 1])),
        GalleryColumn("two", np.ones((3, 48, 48)), None),
    ]
    figure = gallery_figure(
        faces, np.zeros_like(faces), labels, ["sad", "happy"], columns, faces_across=faces_across
    )
    grid = np.array(figure.axes[:9]).reshape((3, 3))
    grid = grid.T if faces_across else grid
    of_face, of_column = ("title", "ylabel") if faces_across else ("ylabel", "title")
    assert [getattr(axes, f"get_{of_face}")() for axes in grid[:, 0]] == ["sad", "happy", "happy"]
    assert [getattr(axes, f"get_{of_column}")() for axes in grid[0, 1:]] == ["one", "two"]
    assert [axes.get_xlabel() for axes in grid[:, 1]] == ["✓ sad", "✗ sad", "✓ happy"]
    assert [axes.get_xlabel() for axes in grid[:, 2]] == ["", "", ""]


def test_a_split_is_drawn_from_its_stored_heatmaps(workspace: Workspace, tmp_path: Path) -> None:
    place = tmp_path / "new" / "gallery.png"
    explain(workspace, ExplainSettings(["gradcam"], device="cpu", gallery=place))
    alone = cv2.imread(str(place))
    stored = workspace.run("cnn").heatmaps("gradcam", "predicted", "test")
    made = stored.stat().st_mtime_ns
    summary = explain(workspace, ExplainSettings(["gradcam", "centre"], device="cpu", gallery=place))
    both = cv2.imread(str(place))
    assert summary.data["gallery"] == str(place)
    assert stored.stat().st_mtime_ns == made
    assert both.shape[1] > alone.shape[1] + 100


def test_without_region_maps_nothing_is_made(workspace: Workspace, tmp_path: Path) -> None:
    shutil.rmtree(workspace.root / "masks")
    with pytest.raises(UserError, match="run 'fertool masks' first"):
        explain(workspace, ExplainSettings(["hirescam"], device="cpu", gallery=tmp_path / "gallery.png"))
    assert not workspace.run("cnn").heatmaps("hirescam", "predicted", "test").exists()


def test_a_gallery_is_a_png(trained: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"give a file that ends in \.png"):
        explain(trained, ExplainSettings(gallery=tmp_path / "gallery.jpg"))
