"""Image classifiers of transformers: the library's own logits, preprocessing and names, and every explainer."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

transformers = pytest.importorskip("transformers")

from fertool.errors import UserError  # noqa: E402
from fertool.explain.registry import EXPLAINERS, explainers_of  # noqa: E402
from fertool.models import FaceClassifier, InputSpec, build_model, load_model, save_model  # noqa: E402
from fertool.models.classifier import TokenGrid  # noqa: E402
from fertool.models.initial_model import initial_model  # noqa: E402
from fertool.models.structure.stages import parameter_stages  # noqa: E402
from fertool.models.weights import hub_files  # noqa: E402
from fertool.models.weights.load import load_weights  # noqa: E402
from fertool.models.weights.sources import find_weights  # noqa: E402
from fertool.train import adopt, train  # noqa: E402
from fertool.train.config import TrainConfig  # noqa: E402
from fertool.workspace import Workspace  # noqa: E402

CLASSES = ("sad", "angry", "happiness")
SIZE = 48
PLAIN = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": SIZE,
    "patch_size": 8,
}
VIT = {**PLAIN, "intermediate_size": 24}
SWIN = {
    "image_size": SIZE,
    "patch_size": 4,
    "embed_dim": 8,
    "depths": [1, 1],
    "num_heads": [2, 2],
    "window_size": 3,
}
# classifier, configuration, image processor with its settings
FAMILIES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "ViT": ("ViTForImageClassification", VIT, "ViTImageProcessor", {"size": {"height": SIZE, "width": SIZE}}),
    "DeiT": ("DeiTForImageClassification", VIT, "DeiTImageProcessor",
             {"size": {"height": 56, "width": 56}, "crop_size": {"height": SIZE, "width": SIZE}}),
    "distilled DeiT": ("DeiTForImageClassificationWithTeacher", VIT, "ViTImageProcessor",
                       {"size": {"height": SIZE, "width": SIZE}}),
    "BEiT": ("BeitForImageClassification", VIT, "BeitImageProcessor",
             {"size": {"height": SIZE, "width": SIZE}, "do_center_crop": False}),
    "Swin": ("SwinForImageClassification", SWIN, "ViTImageProcessor", {"size": {"height": SIZE, "width": SIZE}}),
    "DINOv2": ("Dinov2ForImageClassification", PLAIN, "BitImageProcessor",
               {"size": {"shortest_edge": 56}, "crop_size": {"height": SIZE, "width": SIZE}}),
    "registers": ("Dinov2WithRegistersForImageClassification", PLAIN, "BitImageProcessor",
                  {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}}),
    "ResNet": ("ResNetForImageClassification",
               {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1], "layer_type": "basic"},
               "ConvNextImageProcessor", {"size": {"shortest_edge": 64}}),
    "ConvNeXt": ("ConvNextForImageClassification", {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]},
                 "ConvNextImageProcessor", {"size": {"shortest_edge": 64}}),
}  # fmt: skip
TOKENS = {
    "ViT": TokenGrid(1, 1, 6, 6),
    "DeiT": TokenGrid(2, 1, 6, 6),
    "distilled DeiT": TokenGrid(2, 2, 6, 6),
    "BEiT": TokenGrid(1, 0, 6, 6),
    "DINOv2": TokenGrid(1, 1, 6, 6, pools=True),
    "registers": TokenGrid(5, 1, 6, 6, pools=True),
}
CAM_LAYERS = {
    "ViT": "hub.vit.layers.1.layernorm_before",
    "distilled DeiT": "hub.deit.layers.1.layernorm_before",
    "BEiT": "hub.beit.layers.1",
    "DINOv2": "hub.dinov2.layernorm",
    "ConvNeXt": "hub.convnext.encoder.stages.2.downsampling_layer.0",
}


def save_family(family: str, folder: Path) -> Any:
    """A folder as the library writes it, and its classifier."""
    classifier, settings, processor, preprocessing = FAMILIES[family]
    kind = getattr(transformers, classifier)
    config = kind.config_class(**settings, id2label=dict(enumerate(CLASSES)))
    torch.manual_seed(1)
    network = kind(config).eval()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    getattr(transformers, processor)(**preprocessing).save_pretrained(folder)
    return network


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    kept: dict[str, tuple[Path, Any]] = {}

    def save(family: str) -> tuple[Path, Any]:
        if family not in kept:
            folder = tmp_path_factory.mktemp(family.replace(" ", "-"))
            kept[family] = folder, save_family(family, folder)
        return kept[family]

    return save


def model_in(folder: Path) -> FaceClassifier:
    """The model of a folder, with its head."""
    name = f"hf:{folder}"
    weights = find_weights(name)
    model = build_model(name, len(CLASSES), architecture=weights.architecture)
    load_weights(model, weights, keep_head=True)
    return model.eval()


@pytest.fixture
def faces() -> torch.Tensor:
    smooth = torch.rand(3, 1, 6, 6)
    return (torch.nn.functional.interpolate(smooth, size=48, mode="bilinear") * 255).to(torch.uint8)[:, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_input_are_the_librarys_own(
    saved: Callable[[str], tuple[Path, Any]], faces: torch.Tensor, family: str, tmp_path: Path
) -> None:
    folder, network = saved(family)
    model = model_in(folder)
    inputs = model.preprocess(faces)
    with torch.inference_mode():
        logits = model.logits(inputs)
        assert torch.allclose(logits, network(pixel_values=inputs.contiguous()).logits, rtol=0, atol=1e-5)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pictures = [face[..., None].expand(-1, -1, 3).numpy() for face in faces]
    theirs = processor(images=pictures, return_tensors="pt").pixel_values
    # theirs are rounded to whole grey levels
    assert ((theirs - inputs) * model.std * 255).abs().max() < 1.6
    save_model(model, tmp_path / "w.safetensors")
    again = load_model(tmp_path / "w.safetensors")  # the folder is not needed for it
    assert torch.equal(again(faces), model(faces))


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ("DeiT", "registers")])
def test_every_explainer_of_the_family_explains(
    saved: Callable[[str], tuple[Path, Any]], faces: torch.Tensor, family: str
) -> None:
    model = model_in(saved(family)[0])
    assert model.tokens == TOKENS.get(family) or family == "Swin"
    assert model.cam_layer == CAM_LAYERS.get(family, model.cam_layer)
    names = explainers_of(model.family, len(model.attention_blocks))
    assert ("rollout" in names) == (family in TOKENS)
    expected = model(faces).detach()
    for name in set(names) - {"smoothgrad", "integrated-gradients", "gradcam-size"}:  # they repeat others
        options = (
            {"masks": 8} if name == "rise" else {"patch": 24, "stride": 24} if name == "occlusion" else {}
        )
        found = EXPLAINERS[name].explain(
            model, faces, lambda logits: logits.argmax(dim=1)[:, None], **options
        )
        assert torch.isfinite(found.heatmaps).all() and (found.heatmaps.abs().sum(dim=(2, 3)) > 0).all(), name
        assert torch.allclose(found.logits, expected, rtol=0, atol=1e-4), name
        assert model.input_spec.sees_whole_picture or found.heatmaps.shape[2:] in ((48, 48), (2, 2)), name


def test_attention_is_the_librarys_own(
    saved: Callable[[str], tuple[Path, Any]], faces: torch.Tensor, tmp_path: Path
) -> None:
    folder, _ = saved("ViT")
    model = model_in(folder)
    eager = transformers.ViTForImageClassification.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.inference_mode():
        theirs = eager(pixel_values=model.preprocess(faces), output_attentions=True).attentions[-1]
    choose = lambda logits: logits.argmax(dim=1)[:, None]  # noqa: E731
    ours = EXPLAINERS["attention"].explain(model, faces, choose).heatmaps
    assert torch.allclose(ours[:, 0].flatten(1), theirs.mean(dim=1)[:, 0, 1:], rtol=0, atol=1e-6)


def test_it_trains_with_a_new_head_and_in_stages(
    saved: Callable[[str], tuple[Path, Any]], faces: torch.Tensor
) -> None:
    name = f"hf:{saved('ViT')[0]}"
    weights = find_weights(name)
    model = build_model(name, 7, architecture=weights.architecture)
    taken = load_weights(model, weights)
    assert "new head for 7 classes" in str(taken) and model(faces).abs().max() < 0.5
    stages = parameter_stages(model)
    assert len(stages) == 5 and stages[-1] == ["hub.classifier.weight", "hub.classifier.bias"]
    model(faces).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    other = initial_model(model.recipe, 3)
    assert not torch.allclose(other.eval()(faces), model.eval()(faces))


def test_classes_come_from_the_file(saved: Callable[[str], tuple[Path, Any]]) -> None:
    weights = find_weights(f"hf:{saved('ViT')[0]}")
    assert list(weights.labels["id2label"].values()) == list(CLASSES)
    assert weights.path == saved("ViT")[0] / "model.safetensors"


def test_weights_in_several_files_give_the_same_logits(
    saved: Callable[[str], tuple[Path, Any]], tmp_path: Path, faces: torch.Tensor
) -> None:
    folder, network = saved("ViT")
    network.save_pretrained(tmp_path, max_shard_size="4KB")
    (tmp_path / "preprocessor_config.json").write_bytes((folder / "preprocessor_config.json").read_bytes())
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    with torch.no_grad():
        assert torch.equal(model_in(tmp_path)(faces), model_in(folder)(faces))


def test_from_the_hubs_cache_without_a_network(
    saved: Callable[[str], tuple[Path, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    repository = tmp_path / "hub" / "models--someone--faces"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / "abc").symlink_to(saved("ViT")[0])
    found = find_weights("hf:someone/faces", weights_dir=tmp_path)
    assert (
        found.name == "hf:someone/faces" and found.source == "http://127.0.0.1:9/someone/faces/resolve/main"
    )
    assert found.architecture == find_weights(f"hf:{saved('ViT')[0]}").architecture
    with pytest.raises(
        UserError, match=r"put http://127\.0\.0\.1:9/nobody/faces/resolve/main/config\.json at"
    ):
        find_weights("hf:nobody/faces", weights_dir=tmp_path)


def broken(folder: Path, file: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON of a file in a copy of a model's folder."""
    content = json.loads((folder / file).read_text())
    change(content)
    (folder / file).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "there is no config.json in"),
        (lambda f: (f / "preprocessor_config.json").unlink(), "there is no preprocessor_config.json in"),
        (lambda f: (f / "model.safetensors").unlink(), "there is no model.safetensors in"),
        (lambda f: (f / "config.json").write_text("{"), "its configuration cannot be read"),
        (lambda f: broken(f, "config.json", lambda c: c.update(model_type="bert")), "is not that of an image"),
        (lambda f: broken(f, "config.json", lambda c: c.update(hidden_size=24)), r"is \(.*\) in it, and \(.*\) in the"),
        (lambda f: broken(f, "config.json", lambda c: c.update(num_hidden_layers=3)), "there is no vit.layers.2"),
        (lambda f: broken(f, "config.json", lambda c: c.update(patch_size=24)), "a map needs at least 3x3"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), "not a whole file of weights"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_folder_is_one_line(
    saved: Callable[[str], tuple[Path, Any]], tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "vit"
    folder.mkdir()
    for path in saved("ViT")[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    spoil(folder)
    with pytest.raises(UserError, match=message) as error:
        model_in(folder)
    assert "\n" not in str(error.value)


def test_names_and_settings_that_cannot_be(saved: Callable[[str], tuple[Path, Any]], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"hf:nowhere: no such folder, and no name of the form ORG/NAME"):
        find_weights("hf:nowhere", weights_dir=tmp_path)
    name = f"hf:{saved('ViT')[0]}"
    with pytest.raises(UserError, match=r"--dropout: .* has no such setting"):
        build_model(name, 7, dropout=0.1)
    with pytest.raises(UserError, match="only models of timm and ours have several views"):
        build_model(f"multiscale:{name}", 7)
    with pytest.raises(UserError, match="has weights of its own"):
        find_weights(name, "imagenet")


def test_weights_of_an_older_version_are_renamed(
    saved: Callable[[str], tuple[Path, Any]], tmp_path: Path, faces: torch.Tensor
) -> None:
    """transformers 4 called the parts of a ViT otherwise; a file beside may have either names, or a run's."""
    folder, _ = saved("ViT")
    model = model_in(folder)
    old = {
        name.replace("vit.layers.", "vit.encoder.layer.")
        .replace(".q_proj.", ".attention.query.")
        .replace(".k_proj.", ".attention.key.")
        .replace(".v_proj.", ".attention.value.")
        .replace(".o_proj.", ".output.dense.")
        .replace(".mlp.fc1.", ".intermediate.dense.")
        .replace(".mlp.fc2.", ".output.dense."): value
        for name, value in {
            key.removeprefix("hub."): value for key, value in model.network.state_dict().items()
        }.items()
    }
    save_file(old, tmp_path / "old.safetensors")
    save_model(model, tmp_path / "run.safetensors")
    for file in ("old.safetensors", "run.safetensors"):
        weights = find_weights(f"hf:{folder}", str(tmp_path / file))
        again = build_model(f"hf:{folder}", len(CLASSES), architecture=weights.architecture)
        load_weights(again, weights, keep_head=True)
        assert np.array_equal(again.eval()(faces).detach(), model(faces).detach())


def test_one_in_memory_is_made_again_by_its_configuration(
    saved: Callable[[str], tuple[Path, Any]], synthetic: Workspace
) -> None:
    network = saved("ViT")[1]
    spec = InputSpec(SIZE, 3, (0.5,) * 3, (0.5,) * 3)
    record = adopt(synthetic, network, preprocess=spec, name="mine", device="cpu").data
    assert record["model"] == "hf:ViTForImageClassification" and record["attention_blocks"] == 2
    assert record["adopted"]["class_order"] == ["sad", "angry", "happy"]
    model = load_model(synthetic.run("mine").best)
    faces = torch.from_numpy(np.array(synthetic.load_faces("test")))
    with torch.inference_mode():
        theirs = network(pixel_values=model.preprocess(faces).contiguous()).logits
        ours = model(faces)[
            :, [synthetic.dataset()["classes"].index(name) for name in ("sad", "angry", "happy")]
        ]
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-5)


def test_a_folder_is_adopted_and_fine_tuned_with_its_head(
    saved: Callable[[str], tuple[Path, Any]], synthetic: Workspace
) -> None:
    folder = saved("DeiT")[0]
    config = TrainConfig(model=f"hf:{folder}", epochs=0, precision="fp32")
    record = train(synthetic, config, name="a", device="cpu").data
    adopted = record["adopted"]
    assert (
        adopted["class_order"] == ["sad", "angry", "happy"]
        and adopted["preprocessing"]["crop_scale"] == 48 / 56
    )
    assert record["weights"].startswith(folder.name) and record["pretraining"]["source"] == adopted["file"]
    assert load_model(synthetic.run("a").best).tokens == TOKENS["DeiT"]
    with pytest.raises(
        UserError, match="no output for disgust, fear, surprise, neutral, which it cannot learn"
    ):
        train(synthetic, TrainConfig(model=f"hf:{folder}", epochs=1, keep_head=True), name="b", device="cpu")


def test_downloaded_from_the_hub_once(
    saved: Callable[[str], tuple[Path, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "https://hub")
    asked: list[str] = []

    def download(address: str, target: Path, _what: str, _remedy: str) -> None:
        asked.append(address)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((saved("ViT")[0] / target.name).read_bytes())

    monkeypatch.setattr(hub_files, "download", download)
    first, second = (find_weights("hf:someone/faces@v2", weights_dir=tmp_path) for _ in range(2))
    assert first == second and first.path == tmp_path / "someone--faces--v2" / "model.safetensors"
    base = "https://hub/someone/faces/resolve/v2"
    assert asked == [
        f"{base}/{name}" for name in ("config.json", "preprocessor_config.json", "model.safetensors")
    ]


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"needs the package transformers: pip install 'fertool\[hf\]'"):
        find_weights(f"hf:{tmp_path}")
