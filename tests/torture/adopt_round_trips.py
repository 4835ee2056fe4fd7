"""Every model of --list-models: trained a step, saved in each form of checkpoint, adopted: the same logits, every bit.

python tests/torture/adopt_round_trips.py [MODEL ...]
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.train.round_trips import FORMS, round_trips

# every name of the list, its size where the usual one takes long, and a timm model of each kind
MODELS: dict[str, int | None] = {
    "cnn": None, "cnn-gap": None, "resnet48": None, "resnet50": 64, "efficientnet_b0": 64, "mobilenetv2_100": 64,
    "vit": 64, "vggface": None, "vggface2": 64, "dlibface": None, "facevit": None, "convnext_atto": 64,
    "swin_tiny_patch4_window7_224": None, "deit_tiny_distilled_patch16_224": 64, "vit_small_patch14_reg4_dinov2": 70,
}  # fmt: skip


def main() -> int:
    """The exit status: 1 where a form of a model is not the same."""
    wanted = sys.argv[1:] or list(MODELS)
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            failed = round_trips(name, MODELS.get(name), FORMS, Path(folder))
            failures += len(failed)
            print(
                f"{'FAILED' if failed else 'ok':7}{name:34}{len(FORMS)} forms",
                *failed,
                sep="\n       ",
                flush=True,
            )
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
