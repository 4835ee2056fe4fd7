"""A face alone and in a batch of eight, by every gradient explainer, over a dozen architectures.

    python tests/torture/lone_faces.py

PyTorch computes the gradient of an evaluated batch norm wrongly for some batches of one; no explainer meets any.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.explain.lone_faces import MOST_APART, distances, lively

MODELS = [
    ("cnn", None), ("resnet48", None), ("resnet18", 64), ("levit_128s", 224), ("xcit_nano_12_p16_224", 112),
    ("efficientformer_l1", 224), ("lambda_resnet26t", 128), ("mobilenetv2_100", 96), ("mobilenetv2_050", 96),
    ("tf_efficientnet_lite0", 96), ("convnext_atto", 96), ("regnetx_002", 64), ("test_vit", 64),
]  # fmt: skip


def main() -> int:
    """The exit status: 1 where a map is more than MOST_APART from itself."""
    failed = 0
    for name, size in MODELS:
        found = distances(lively(name, size))
        worst = max(found, key=found.__getitem__)
        bad = found[worst] > MOST_APART
        failed += bad
        print(
            f"{'FAILED' if bad else 'ok':7}{name:26}{len(found)} explainers, worst {worst} {found[worst]:.1e}",
            flush=True,
        )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
