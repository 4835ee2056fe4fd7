import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from fertool.explain.cams import gradcam
from fertool.explain.hooks import captured, undisturbed
from fertool.models import FaceClassifier, build_model

FACES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8))


def predicted(logits: torch.Tensor) -> torch.Tensor:
    return logits.argmax(dim=1, keepdim=True)


@pytest.fixture
def model() -> FaceClassifier:
    torch.manual_seed(0)
    return build_model("cnn", 7)


def test_equals_captum(model: FaceClassifier) -> None:
    ours = gradcam(model, FACES, predicted)
    model.eval()
    theirs = LayerGradCam(model.network, model.layer(model.cam_layer)).attribute(
        model.preprocess(FACES), target=ours.logits.argmax(dim=1), relu_attributions=False
    )[:, 0]
    assert (ours.heatmaps[:, 0] - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_equals_pytorch_grad_cam(model: FaceClassifier) -> None:
    classes = torch.tensor([0, 1, 2, 3, 6])
    ours = gradcam(model, FACES, lambda logits: classes[:, None]).heatmaps[:, 0].clamp(min=0)
    model.eval()
    with GradCAM(model.network, [model.layer(model.cam_layer)]) as cam:
        inputs = model.preprocess(FACES)
        cam(inputs, [ClassifierOutputTarget(int(code)) for code in classes])
        activations, gradients = (
            cam.activations_and_grads.activations[0],
            cam.activations_and_grads.gradients[0],
        )
        theirs = cam.get_cam_image(
            inputs, model.layer(model.cam_layer), [], activations.numpy(), gradients.numpy(), False
        )
    theirs = torch.from_numpy(theirs).clamp(min=0)
    assert theirs.amax() > 0
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.max()


def test_known_answer(model: FaceClassifier) -> None:
    """A head that sums feature map 3: the Grad-CAM of its logit is that feature map itself."""
    network = model.network
    for parameter in [*network.hidden.parameters(), *network.classifier.parameters()]:
        parameter.data.zero_()
    network.pool3 = torch.nn.Identity()
    network.flatten = torch.nn.Sequential(torch.nn.Flatten(2), PickMean(channel=3))
    network.hidden = network.hidden_relu = network.classifier = torch.nn.Identity()
    explanation = gradcam(model, FACES, lambda logits: torch.zeros(len(logits), 1, dtype=torch.int64))
    with undisturbed(model), captured(model, "relu3") as activation:
        model(FACES)
    expected = activation.value[:, 3].detach() / 144
    assert torch.allclose(explanation.heatmaps[:, 0], expected, atol=1e-6)


class PickMean(torch.nn.Module):
    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, self.channel].mean(dim=1, keepdim=True)


def test_maps_do_not_depend_on_the_batch(model: FaceClassifier) -> None:
    together = gradcam(model, FACES, predicted).heatmaps
    alone = torch.cat([gradcam(model, face[None], predicted).heatmaps for face in FACES])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_comes_out_as_it_went_in(model: FaceClassifier, training: bool) -> None:
    model.train(training)
    model.network.conv1.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    gradcam(model, FACES, predicted)
    assert all(module.training == training for module in model.modules())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_go_whatever_happens(model: FaceClassifier) -> None:
    def refuse(logits: torch.Tensor) -> torch.Tensor:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        gradcam(model.train(), FACES, refuse)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_works_inside_inference_code(model: FaceClassifier) -> None:
    with torch.no_grad():
        inside = gradcam(model, FACES, predicted).heatmaps
    assert torch.equal(inside, gradcam(model, FACES, predicted).heatmaps)
