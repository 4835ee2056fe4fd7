"""The files of an image classifier of `transformers`: in a folder, in the hub's cache here, or on the hub."""

from pathlib import Path

from fertool.errors import UserError
from fertool.models.backbones.hub_library import PREFIX
from fertool.runtime.download import MissingError, download

SETTINGS = ("config.json", "preprocessor_config.json")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


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
    if isinstance(cached, str) and weights_in(Path(cached).parent) is not None:
        return Path(cached).parent, base
    target = folder / where.replace("/", "--").replace("@", "--")
    for file in SETTINGS:
        _fetch(name, base, file, target)
    if weights_in(target) is None:
        _fetch_weights(name, base, target)
    return target, base


def weights_in(folder: Path) -> Path | None:
    """The file of weights in a folder; None where there is none. Raises UserError for weights in several files."""
    found = next((folder / file for file in WEIGHTS if (folder / file).is_file()), None)
    if found is None and any((folder / file).is_file() for file in INDEX):
        raise UserError(
            f"{folder}: its weights lie in several files; save them in one: "
            "model.save_pretrained(FOLDER, max_shard_size='100GB')"
        )
    return found


def _fetch(name: str, base: str, file: str, target: Path) -> None:
    if not (target / file).is_file():
        download(
            f"{base}/{file}", target / file, f"the model {name}", f"put {base}/{file} at {target / file}"
        )


def _fetch_weights(name: str, base: str, target: Path) -> None:
    missing: list[MissingError] = []
    for file in WEIGHTS:
        try:
            return _fetch(name, base, file, target)
        except MissingError as error:
            missing.append(error)
    raise missing[0]
