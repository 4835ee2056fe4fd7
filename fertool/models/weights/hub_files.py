"""The files of an image classifier of `transformers`: in a folder, in the hub's cache here, or on the hub."""

from pathlib import Path

from fertool.errors import UserError
from fertool.models.backbones.hub_library import PREFIX
from fertool.models.weights.shards import INDEX, is_index, is_whole, shards
from fertool.runtime.download import MissingError, download

SETTINGS = ("config.json", "preprocessor_config.json")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
BIN_INDEX = "pytorch_model.bin.index.json"


def hub_folder(name: str, folder: Path) -> tuple[Path, str]:
    """The folder of a model's files, and their address.

    Args:
        name: `hf:FOLDER`, else `hf:ORG/NAME` or `hf:ORG/NAME@REVISION`.
        folder: where downloads are kept.

    Raises:
        UserError: there is no such folder, or the files cannot be had; with the address and the place to put them.
    """
    where = name.removeprefix(PREFIX)
    if (local := Path(where)).is_dir():
        return local, str(local)
    repository, _, revision = where.partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise UserError(f"--model {name}: no such folder, and no name of the form ORG/NAME; correct it")
    from huggingface_hub import constants, try_to_load_from_cache

    base = f"{constants.ENDPOINT}/{repository}/resolve/{revision or 'main'}"
    cached = try_to_load_from_cache(repository, SETTINGS[0], revision=revision or None)
    if isinstance(cached, str) and _has_weights(Path(cached).parent):
        return Path(cached).parent, base
    target = folder / where.replace("/", "--").replace("@", "--")
    for file in SETTINGS:
        _fetch(name, base, file, target)
    if not _has_weights(target):
        _fetch_weights(name, base, target)
    return target, base


def weights_in(folder: Path) -> Path | None:
    """The file of weights in a folder, or the index of several; None where there is none.

    Raises UserError for several files of PyTorch's own format.
    """
    found = next((folder / file for file in (*WEIGHTS, INDEX) if (folder / file).is_file()), None)
    if found is None and (folder / BIN_INDEX).is_file():
        raise UserError(
            f"{folder}: its weights lie in several .bin files; save them as .safetensors: model.save_pretrained(FOLDER)"
        )
    return found


def _has_weights(folder: Path) -> bool:
    """Whether a folder holds a model's weights, all files of them."""
    found = weights_in(folder)
    return found is not None and (not is_index(found) or is_whole(found))


def _fetch(name: str, base: str, file: str, target: Path) -> None:
    if not (target / file).is_file():
        download(
            f"{base}/{file}", target / file, f"the model {name}", f"put {base}/{file} at {target / file}"
        )


def _fetch_weights(name: str, base: str, target: Path) -> None:
    missing: list[MissingError] = []
    for file in (WEIGHTS[0], INDEX, WEIGHTS[1]):
        try:
            _fetch(name, base, file, target)
        except MissingError as error:
            missing.append(error)
            continue
        for shard in shards(target / INDEX) if file == INDEX else ():
            _fetch(name, base, shard, target)
        return
    raise missing[0]
