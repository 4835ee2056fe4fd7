"""PyTorch's own files, .pth, .pt and .bin, read without running what they may hold, and within their own size."""

import re
import stat
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from fertool.errors import UserError

SAVE_STATE_DICT = "save its state_dict: torch.save(network.state_dict(), 'weights.pth')"


def load_torch_file(path: Path) -> Any:
    """The content of a file that `torch.save` wrote, tensors on the CPU; PyTorch 1.5's format is read too.

    Raises UserError for a damaged file, a TorchScript program, a file that runs code when it is loaded, and one whose
    records are compressed: PyTorch writes none, and two megabytes of them can unpack to gigabytes.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise UserError(f"{path}: not a regular file; give a file of weights")
    try:
        if zipfile.is_zipfile(path):
            _check_records(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about pickles that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    # a damaged file fails in as many ways as there are operations in its pickle
    except Exception as error:
        raise _refusal(path, error) from None


def _check_records(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
    names = [record.filename for record in records]
    if any("/code/" in name or name.endswith("constants.pkl") for name in names):
        raise UserError(f"{path}: a TorchScript program, not weights by name; {SAVE_STATE_DICT}")
    if not any(name.endswith("data.pkl") for name in names):
        raise UserError(f"{path}: a zip archive that torch.save did not write; {SAVE_STATE_DICT}")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records) or (
        sum(record.file_size for record in records) > path.stat().st_size
    ):
        raise UserError(
            f"{path}: refused, for its records are compressed, as torch.save writes none; save it again"
        )


def _refusal(path: Path, error: Exception) -> UserError:
    if code := re.search(r"[Uu]nsupported (?:global: )?GLOBAL ([\w.<>]+)", str(error)):
        return UserError(
            f"{path}: refused, for this checkpoint runs code ({code[1][:80]}) when it is loaded; {SAVE_STATE_DICT}"
        )
    return UserError(f"{path}: not a whole file of weights ({type(error).__name__}); get it again")
