import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from fertool.errors import UserError
from fertool.models import FaceClassifier, build_model, save_model
from fertool.models.backbones.multiscale import MultiscaleClassifier
from fertool.models.weights import sources as weights_module
from fertool.models.weights.load import load_weights
from fertool.models.weights.sources import FOLDER_VARIABLE, NO_WEIGHTS, Published, Weights, find_weights

pytestmark = pytest.mark.usefixtures("cache")

MOBILENET = "models/mobilenetv2_100.imagenet.safetensors"


def state_of(name: str, classes: int = 1000, seed: int = 1, **options: object) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return timm.create_model(name, num_classes=classes, **options).state_dict()


def backbone(model: FaceClassifier) -> dict[str, torch.Tensor]:
    return {
        name: value
        for name, value in model.network.state_dict().items()
        if not name.startswith(f"{model.head}.")
    }


def assert_holds(model: FaceClassifier, state: dict[str, torch.Tensor]) -> None:
    ours = backbone(model)
    assert ours and all(torch.equal(value, state[name].to(value.dtype)) for name, value in ours.items())


# --- what --weights means ---


@pytest.mark.parametrize(
    ("name", "weights"), [("cnn", "auto"), ("cnn", "none"), ("vggface", "none"), ("my.net:make", "auto")]
)
def test_no_weights(name: str, weights: str) -> None:
    found = find_weights(name, weights)
    assert found == NO_WEIGHTS == Weights("none")
    model = build_model("cnn", 7)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    load_weights(model, found)
    assert all(torch.equal(before[name], value) for name, value in model.network.state_dict().items())


@pytest.mark.parametrize(
    ("file", "name", "variant"),
    [
        ("test_resnet.imagenet.safetensors", "imagenet", None),
        ("test_resnet.safetensors", "imagenet", None),
        ("test_resnet.r160_in1k.pth", "imagenet", None),
        ("test_resnet.celebrities.safetensors", "celebrities", None),
    ],
)
def test_the_folder_comes_before_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, name: str, variant: str | None
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (save_file if file.endswith("safetensors") else torch.save)(state_of("test_resnet"), folder / file)
    found = find_weights("test_resnet", weights_dir=folder)
    assert (found.name, found.path, found.variant) == (name, folder / file, variant)
    assert len(found.sha256) == 64
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    assert find_weights("test_resnet", "auto") == found
    assert find_weights("multiscale:test_resnet") == found


def test_a_tag_that_timm_knows_brings_its_statistics(tmp_path: Path) -> None:
    save_file(state_of("resnet10t"), tmp_path / "efficientnet_b0.ra4_e3600_r224_in1k.safetensors")
    found = find_weights("efficientnet_b0", weights_dir=tmp_path)
    assert (found.name, found.variant) == ("imagenet", "ra4_e3600_r224_in1k")
    model = build_model("efficientnet_b0", 7, variant=found.variant, image_size=64)
    assert model.input_spec.mean == (0.5, 0.5, 0.5) != build_model("efficientnet_b0", 7).input_spec.mean
    with pytest.raises(UserError, match=r"no model 'efficientnet_b0\.nonsense'"):
        build_model("efficientnet_b0", 7, variant="nonsense")


def test_the_usual_of_several_files_is_taken_and_others_are_asked_about(tmp_path: Path) -> None:
    for tag in ("one", "two", "imagenet"):
        save_file(state_of("test_resnet"), tmp_path / f"test_resnet.{tag}.safetensors")
    assert find_weights("test_resnet", weights_dir=tmp_path).name == "imagenet"
    (tmp_path / "test_resnet.imagenet.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"one\.safetensors or .*two\.safetensors. name one with --weights PATH"
    ):
        find_weights("test_resnet", weights_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("cnn", "imagenet", "there are none for cnn; give none, or a file"),
        ("vggface", "imagenet", "vggface is pretrained on faces; give auto, none, or a file"),
        ("facevit", "imagenet", "facevit is pretrained on faces"),
        ("cnn", "nowhere.pth", "nowhere.pth: no such file; there are auto, none, imagenet"),
        ("resnet51", "auto", "no model 'resnet51'"),
        ("cnn", "hf_hub:timm/resnet50", "cnn is no model of timm"),
    ],
)
def test_what_means_nothing_is_one_line(name: str, weights: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        find_weights(name, weights)
    assert "\n" not in str(error.value)


def test_files_of_one_name_are_told_apart_by_what_is_in_them(tmp_path: Path) -> None:
    paths = [tmp_path / run / "best.safetensors" for run in ("a-s0", "b-s0", "copy-of-b")]
    for path, classes in zip(paths, (7, 8, 8), strict=True):
        path.parent.mkdir()
        torch.manual_seed(0)
        save_file(state_of("test_resnet", classes=classes), path)
    first, second, copy = (find_weights("test_resnet", str(path)) for path in paths)
    assert first.name == f"best.safetensors {first.sha256[:6]}"
    assert first.name != second.name == copy.name


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--weights-dir .*nowhere: no such folder"):
        find_weights("vggface", weights_dir=tmp_path / "nowhere")


# --- downloads ---


@pytest.mark.parametrize(
    ("name", "address", "file"),
    [
        ("vggface", "http://127.0.0.1:9/vgg_face_dag.pth", "vgg_face_dag.pth"),
        ("resnet50", "http://127.0.0.1:9/timm/resnet50.a1_in1k/resolve/main/model.safetensors",
         "resnet50.imagenet.safetensors"),
        ("vit", "http://127.0.0.1:9/timm/vit_base_patch16_224.augreg2_in21k_ft_in1k/resolve/main/"
         "model.safetensors", "vit.imagenet.safetensors"),
        ("facevit", "http://127.0.0.1:9/gaunernst/vit_tiny_patch8_112.arcface_ms1mv3/resolve/main/"
         "model.safetensors", "facevit.safetensors"),
    ],
)  # fmt: skip
def test_offline_says_at_once_what_to_put_where(
    monkeypatch: pytest.MonkeyPatch, cache: Path, name: str, address: str, file: str
) -> None:
    monkeypatch.setitem(weights_module.PUBLISHED, "vggface", Published(("vgg_face_dag.pth",), address))
    find_weights(name, "none")  # timm is imported
    start_s = time.monotonic()
    with pytest.raises(UserError) as error:
        find_weights(name)
    assert time.monotonic() - start_s < 5
    message = str(error.value)
    assert f"put {address} at {cache / file}, or train with --weights none" in message
    assert "\n" not in message
    assert not list(cache.glob("*"))


@pytest.fixture
def address(tmp_path: Path, serve: Callable[..., str]) -> str:
    """The address, on this machine, at which a server hands out the files of the test's folder."""
    return serve(tmp_path)


def test_the_published_file_is_downloaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, address: str
) -> None:
    (tmp_path / "served.pth").write_bytes(b"weights")
    published = Published(("vgg_face_dag.pth",), f"{address}/served.pth")
    monkeypatch.setitem(weights_module.PUBLISHED, "vggface", published)
    found = find_weights("vggface")
    assert (found.name, found.path, found.source) == (
        "vggface",
        cache / "vgg_face_dag.pth",
        published.address,
    )
    (tmp_path / "served.pth").unlink()
    assert find_weights("vggface", "vggface").sha256 == found.sha256


def hub(folder: Path, repository: str, files: dict[str, Path]) -> None:
    """A hub cache as huggingface_hub lays it out: refs, blobs, snapshots."""
    root = folder / f"models--{repository.replace('/', '--')}"
    commit = "0" * 40
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    (root / "snapshots" / commit).mkdir(parents=True)
    (root / "blobs").mkdir()
    for name, source in files.items():
        blob = root / "blobs" / name.upper()
        shutil.copy(source, blob)
        (root / "snapshots" / commit / name).symlink_to(blob)


def test_timms_weights_out_of_the_hubs_cache(tmp_path: Path) -> None:
    state = state_of("test_resnet")
    save_file(state, tmp_path / "w.safetensors")
    hub(tmp_path / "hub", "timm/test_resnet.r160_in1k", {"model.safetensors": tmp_path / "w.safetensors"})
    found = find_weights("test_resnet")
    assert found.name == "imagenet"
    assert found.source == "http://127.0.0.1:9/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
    model = build_model("test_resnet", 7)
    load_weights(model, found)
    assert_holds(model, state)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> Callable[[str], Path]:
    """`served(repository)` is the folder of a repository on a hub that this machine serves."""

    def make(repository: str) -> Path:
        folder = tmp_path / "served" / repository / "resolve" / "main"
        folder.mkdir(parents=True)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"{address}/served")
        return folder

    return make


def test_timms_weights_from_the_hub(
    served: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    folder = served("timm/test_vit.r160_in1k")
    save_file(state_of("test_vit"), folder / "model.safetensors")
    assert find_weights("test_vit").path == cache / "test_vit.imagenet.safetensors"


def config_of(architecture: str, **arguments: object) -> str:
    return json.dumps(
        {
            "architecture": architecture,
            "num_classes": 512,
            "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]},
            "model_args": arguments,
        }
    )


def test_a_repository_of_the_hub_with_its_statistics(
    served: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = served("someone/faces")
    state = state_of("test_resnet", classes=512)
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(config_of("test_resnet"))
    found = find_weights("test_resnet", "hf_hub:someone/faces")
    assert (found.name, found.mean) == ("hf_hub:someone/faces", (0.1, 0.2, 0.3))
    model = build_model("test_resnet", 7)
    load_weights(model, found)
    assert_holds(model, state)
    assert model.input_spec.mean == (0.1, 0.2, 0.3)
    assert torch.equal(model.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    assert build_model(**model.recipe).input_spec == model.input_spec
    own = build_model("test_resnet", 7, mean=(0.4, 0.4, 0.4))
    load_weights(own, found)
    assert own.input_spec.mean == (0.4, 0.4, 0.4), "what the user says holds"
    with pytest.raises(UserError, match="weights of test_resnet, and resnet18 is resnet18"):
        find_weights("resnet18", "hf_hub:someone/faces")


def test_facevit_is_the_repositorys_network(
    served: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its config.json: vit_tiny_patch16_224, model_args patch_size 8, input 112, 512 numbers."""
    folder = served("gaunernst/vit_tiny_patch8_112.arcface_ms1mv3")
    state = state_of("vit_tiny_patch16_224", classes=512, patch_size=8, img_size=112)
    assert sum(value.numel() for value in state.values()) == 5_512_640, "as its README says"
    save_file(state, folder / "model.safetensors")
    found = find_weights("facevit")
    assert found.name == "facevit"
    model = build_model("facevit", 7)
    load_weights(model, found)
    assert_holds(model, state)
    assert (model.input_spec.size, model.input_spec.mean) == (112, (0.5, 0.5, 0.5))
    assert model.tokens.rows == model.tokens.columns == 14


def test_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(address: str, target: Path, *_: object) -> None:
        asked.append(address)
        target.parent.mkdir(parents=True)
        target.write_bytes(b"weights")

    monkeypatch.setattr(weights_module, "download", download)
    for _ in range(2):
        found = find_weights("cnn", "https://example.org/w.pth?version=1")
    assert found.name == f"w.pth {hashlib.sha256(b'weights').hexdigest()[:6]}"
    assert found.source == "https://example.org/w.pth?version=1"
    assert len(asked) == 1
    find_weights("cnn", "https://example.com/w.pth")
    assert len(asked) == 2, "another file, though of the same name"


# --- into the model ---


def test_true_imagenet_weights(shared) -> None:
    path = shared(MOBILENET)
    found = find_weights("mobilenetv2_100", weights_dir=path.parent)
    assert (found.name, found.path) == ("imagenet", path)
    torch.manual_seed(0)
    model = build_model("mobilenetv2_100", 7, image_size=96).eval()
    torch.manual_seed(0)
    control = build_model("mobilenetv2_100", 7, image_size=96).eval()
    load_weights(model, found)
    state = load_file(path)
    assert state["conv_stem.weight"].dtype == torch.float16
    assert_holds(model, state)
    assert torch.equal(model.network.classifier.weight, control.network.classifier.weight)
    assert model.input_spec == control.input_spec, "the control sees the same pixels"
    # timm's own path to the same file
    theirs = timm.create_model(
        "mobilenetv2_100", pretrained=True, num_classes=7, pretrained_cfg_overlay={"file": str(path)}
    ).eval()
    inputs = model.preprocess(torch.randint(0, 256, (2, 48, 48)))
    with torch.inference_mode():
        assert torch.allclose(
            model.network.forward_features(inputs), theirs.forward_features(inputs), atol=1e-4
        )


def test_position_embeddings_are_resampled(tmp_path: Path) -> None:
    state = state_of("test_vit")
    save_file(state, tmp_path / "test_vit.imagenet.safetensors")
    model = build_model("test_vit", 7, image_size=80)
    load_weights(model, find_weights("test_vit", weights_dir=tmp_path))
    theirs = timm.create_model(
        "test_vit", pretrained=True, img_size=80, num_classes=7,
        pretrained_cfg_overlay={"file": str(tmp_path / "test_vit.imagenet.safetensors")},
    )  # fmt: skip
    assert model.network.pos_embed.shape == (1, 26, 64) != state["pos_embed"].shape
    assert torch.equal(model.network.pos_embed, theirs.pos_embed)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda state: state.pop("layer1.0.conv1.weight"), r"there is no layer1\.0\.conv1\.weight in it"),
        (lambda state: state.update(extra=torch.ones(1)), "extra in it is not in the model"),
        (
            lambda state: state.update({"layer1.0.conv1.weight": torch.ones(3, 3, 1, 1)}),
            r"layer1\.0\.conv1\.weight is \(3, 3, 1, 1\) in it, and \(32, 32, 3, 3\) in the model",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(tmp_path: Path, edit, message: str) -> None:
    state = state_of("test_resnet")
    edit(state)
    save_file(state, tmp_path / "w.safetensors")
    model = build_model("test_resnet", 7)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    with pytest.raises(
        UserError, match=rf"w\.safetensors: not the weights of test_resnet: {message}"
    ) as error:
        load_weights(model, find_weights("test_resnet", str(tmp_path / "w.safetensors")))
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[name], value) for name, value in model.network.state_dict().items())


def test_patches_of_another_size_are_another_architecture(tmp_path: Path) -> None:
    save_file(state_of("vit_tiny_patch16_224"), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"patch_embed\.proj\.weight is \(192, 3, 16, 16\) in it"):
        load_weights(build_model("facevit", 7), find_weights("facevit", str(tmp_path / "w.safetensors")))


def test_both_heads_of_a_distilled_transformer_are_new(tmp_path: Path) -> None:
    state = state_of("deit_tiny_distilled_patch16_224")
    save_file(state, tmp_path / "w.safetensors")
    model = build_model("deit_tiny_distilled_patch16_224", 7, image_size=112)
    load_weights(model, find_weights("deit_tiny_distilled_patch16_224", str(tmp_path / "w.safetensors")))
    assert model.network.head_dist.weight.shape == (7, 192)
    assert torch.equal(model.network.blocks[0].attn.qkv.weight, state["blocks.0.attn.qkv.weight"])


def test_a_run_of_a_model_with_the_same_names_and_shapes_is_refused(tmp_path: Path) -> None:
    """Its statistics are others, or its strides."""
    place, size = tmp_path / "best.safetensors", {"image_size": 48}
    save_model(build_model("deit_tiny_patch16_224", 5, **size), place)
    model = build_model("vit_tiny_patch16_224", 7, **size)
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    with pytest.raises(UserError, match="a run of deit_tiny_patch16_224, and this is vit_tiny_patch16_224"):
        load_weights(model, find_weights("vit_tiny_patch16_224", str(place)))
    assert_holds(model, before)
    tagged = build_model("deit_tiny_patch16_224.fb_in1k", 7, **size)
    load_weights(tagged, find_weights("deit_tiny_patch16_224.fb_in1k", str(place)))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("vit_tiny_patch16_224.augreg_in21k", "vit_tiny_patch16_224"),
        ("deit_tiny_patch16_224", "deit_tiny_patch16_224"),
    ],
)
def test_the_statistics_of_a_runs_tag_come_with_its_weights(tmp_path: Path, theirs: str, ours: str) -> None:
    run = build_model(theirs, 5, image_size=48)
    save_model(run, tmp_path / "best.safetensors")
    weights = find_weights(ours, str(tmp_path / "best.safetensors"))
    model = build_model(ours, 7, image_size=48, variant=weights.variant)
    load_weights(model, weights)
    assert (model.input_spec.mean, model.input_spec.std) == (run.input_spec.mean, run.input_spec.std)


def test_a_tag_with_statistics_of_its_own_is_fed_by_them(tmp_path: Path) -> None:
    run = build_model("vit_small_patch16_224.dino", 5, image_size=48)
    save_model(run, tmp_path / "best.safetensors")
    model = build_model("vit_small_patch16_224", 7, image_size=48)
    assert model.input_spec.mean != run.input_spec.mean
    load_weights(model, find_weights("vit_small_patch16_224", str(tmp_path / "best.safetensors")))
    assert model.input_spec.mean == run.input_spec.mean
    load_weights(model, find_weights("vit_small_patch16_224", str(tmp_path / "best.safetensors")))
    assert model.input_spec.std == pytest.approx(run.input_spec.std)


def test_a_branch_of_several_takes_no_more_than_the_whole_network_does(tmp_path: Path) -> None:
    extra = {"blocks.0.attn.q_norm.weight": torch.ones(32), "norm_pre.weight": torch.ones(64)}
    save_file({**state_of("test_vit2"), **extra}, tmp_path / "w.safetensors")
    for name in ("test_vit2", "multiscale:test_vit2"):
        with pytest.raises(UserError, match="in it is not in the model"):
            load_weights(build_model(name, 7), find_weights(name, str(tmp_path / "w.safetensors")))


def test_a_tag_that_timm_knows_is_found_by_our_name_too(tmp_path: Path) -> None:
    (tmp_path / "vit_base_patch16_224.dino.safetensors").write_bytes(b"weights")
    for name in ("vit", "vit_base_patch16_224"):
        found = find_weights(name, weights_dir=tmp_path)
        assert (found.name, found.variant) == ("dino", "dino")


@pytest.mark.parametrize("name", ["cnn", "test_resnet"])
def test_a_run_of_our_own_with_other_classes(tmp_path: Path, name: str) -> None:
    statistics = {"mean": (0.4,) * 3} if name != "cnn" else {}
    run, model = build_model(name, 5, **statistics), build_model(name, 7)
    save_model(run, tmp_path / "best.safetensors")
    head = model.layer(model.head).weight.clone()
    load_weights(model, find_weights(name, str(tmp_path / "best.safetensors")))
    assert_holds(model, run.network.state_dict())
    assert torch.equal(model.layer(model.head).weight, head)
    assert model.input_spec.mean == run.input_spec.mean


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "cnn"])
def test_each_branch_of_several_gets_the_weights(tmp_path: Path, name: str) -> None:
    def two(classes: int) -> FaceClassifier:
        model = MultiscaleClassifier([build_model(name, classes) for _ in range(2)], ("whole", "face"))
        model.recipe = {**build_model(name, classes).recipe, "name": f"multiscale:{name}"}
        return model

    single, model, other = build_model(name, 5), two(7), two(3)
    save_model(single, tmp_path / "single.safetensors")
    load_weights(model, find_weights(f"multiscale:{name}", str(tmp_path / "single.safetensors")))
    for number in range(2):
        branch = model.layer(f"branches.{number}").state_dict()
        assert branch and all(
            torch.equal(value, single.network.state_dict()[key]) for key, value in branch.items()
        )
    save_model(model, tmp_path / "both.safetensors")
    load_weights(other, find_weights(f"multiscale:{name}", str(tmp_path / "both.safetensors")))
    assert_holds(other, model.network.state_dict())


@pytest.mark.parametrize("views", ["face", "whole,face"])
def test_several_views_take_their_own_weights_again(tmp_path: Path, views: str) -> None:
    run, model = (build_model("multiscale:cnn", classes, views=views) for classes in (5, 7))
    save_model(run, tmp_path / "best.safetensors")
    load_weights(model, find_weights("multiscale:cnn", str(tmp_path / "best.safetensors")))
    assert_holds(model, run.network.state_dict())


def test_vggface_from_a_file_with_the_published_names(narrow: None, tmp_path: Path) -> None:
    model = build_model("vggface", 7)
    state = {
        name: torch.full((1,), number / 100).expand(value.shape)
        for number, (name, value) in enumerate(model.network.state_dict().items())
    }
    published = [
        f"conv{k}_{n}" for k, last in enumerate((2, 2, 3, 3, 3), start=1) for n in range(1, last + 1)
    ]
    names = [f"{layer}.{kind}" for layer in (*published, "fc6", "fc7", "fc8") for kind in ("weight", "bias")]
    assert list(state) == names
    state |= {"fc8.weight": torch.zeros(1).expand(2622, 8), "fc8.bias": torch.zeros(2622)}
    torch.save(state, tmp_path / "vgg_face_dag.pth")  # expanded tensors share their one number
    load_weights(model, find_weights("vggface", weights_dir=tmp_path))
    assert torch.all(model.network.conv5_3.weight == state["conv5_3.weight"][0, 0, 0, 0])
    assert model.network.fc8.weight.shape == (7, 8) and model.network.fc8.weight.std() > 0
    white = model.preprocess(torch.full((1, 48, 48), 255))
    assert torch.allclose(white[0, :, 0, 0], 255 - torch.tensor([129.1863, 104.7624, 93.5940]), atol=1e-3)


def test_dlibs_weights_are_those_of_the_package() -> None:
    pytest.importorskip("dlib", reason="the extra dlib is not installed")
    found = find_weights("dlibface")
    assert (found.name, found.path.name) == ("dlibface", "dlib_face_recognition_resnet_model_v1.dat")
    torch.manual_seed(0)
    model = build_model("dlibface", 7)
    before = {name: value.clone() for name, value in model.network.named_parameters()}
    load_weights(model, found)
    same = [name for name, value in model.network.named_parameters() if torch.equal(value, before[name])]
    assert same == ["classifier.weight", "classifier.bias"]
