"""A model trained a step, saved in a form of checkpoint, and adopted: the same logits, bit for bit."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fertool.models import FaceClassifier, build_model
from fertool.models.weights.sources import find_weights
from fertool.prepare.emotions import EMOTIONS
from fertool.train.adoption import adopt_with_head
from fertool.train.config import TrainConfig

ORDER = [*EMOTIONS[3:], "contempt", *EMOTIONS[:3]]
State = Mapping[str, Tensor]


def prefixed(prefix: str, state: State) -> dict[str, Tensor]:
    """The state with a prefix before every name."""
    return {f"{prefix}{name}": value for name, value in state.items()}


FORMS: dict[str, tuple[str, Callable[[State], Any]]] = {
    "bare": ("pth", lambda state: dict(state)),
    "safetensors": ("safetensors", lambda state: {name: value.clone() for name, value in state.items()}),
    **{
        part: ("pth", lambda state, part=part: {part: dict(state), "epoch": 3})
        for part in ("state_dict", "model", "net", "model_state_dict", "ema", "params")
    },
    **{
        prefix: ("pth", lambda state, prefix=prefix: prefixed(prefix, state))
        for prefix in ("module.", "model.", "net.", "backbone.", "_orig_mod.")
    },
    "lightning": ("pth", lambda state: {"state_dict": prefixed("model.backbone.", state)}),
}


def trained_a_step(name: str, size: int | None) -> FaceClassifier:
    """A model with eight outputs after one step of gradient descent, in evaluation mode."""
    torch.manual_seed(0)
    model = build_model(name, len(ORDER), image_size=size)
    faces = torch.randint(0, 256, (4, 48, 48), dtype=torch.uint8)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    nn.functional.cross_entropy(model(faces), torch.arange(4)).backward()
    optimizer.step()
    return model.eval()


def round_trips(name: str, size: int | None, forms: Mapping[str, Any], folder: Path) -> list[str]:
    """The forms from which a model does not come back with the same logits, and why."""
    model = trained_a_step(name, size)
    faces = torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model(faces).numpy()[:, [ORDER.index(emotion) for emotion in EMOTIONS]]
    failed = []
    for form, (suffix, wrap) in forms.items():
        file = folder / f"weights.{suffix}"
        state = wrap({key: value.detach().contiguous() for key, value in model.network.state_dict().items()})
        if suffix == "safetensors":
            save_file(state, file)
        else:
            torch.save(state, file)
        config = TrainConfig(
            model=name, weights=str(file), epochs=0, image_size=size, class_order=tuple(ORDER)
        )
        try:
            adopted = adopt_with_head(config, find_weights(name, str(file)), list(EMOTIONS))
        except Exception as error:  # every failure is reported, and the other forms are tried
            failed.append(f"{form}: {error}")
            continue
        with torch.inference_mode():
            logits = adopted.model.eval()(faces).numpy()
        if not np.array_equal(logits, expected):
            failed.append(f"{form}: logits differ by {np.abs(logits - expected).max():.1e}")
    return failed
