"""Depthwise convolutions in bfloat16: the gradients are PyTorch's, to the first and the second order."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import create_conv2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from fertool.runtime.depthwise_kernel import DepthwiseConvolution
from fertool.runtime.hardware import Compute

CPU_BF16 = Compute(torch.device("cpu"), "bf16")


class SlowGradients(TorchDispatchMode):
    """Counts the gradients that PyTorch would compute by its reference kernel."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            gradient, _, kernels, _, (stride, _), *_, groups, wanted = args
            is_depthwise = gradient.dtype == torch.bfloat16 and groups == len(kernels)
            self.count += is_depthwise and (
                (wanted[0] and stride > 1) or (wanted[1] and kernels.shape[-1] > 3)
            )
        return func(*args, **(kwargs or {}))


def gradients(layer: nn.Module, pictures: Tensor, context: Any) -> list[Tensor]:
    """The outputs of a layer, and the gradients of pictures and weights."""
    with context:
        outputs = layer(pictures)
    chosen = torch.linspace(-1, 1, outputs.numel()).reshape(outputs.shape)
    return [outputs, *torch.autograd.grad((outputs.float() * chosen).sum(), [pictures, *layer.parameters()])]


@given(
    width=st.integers(1, 9),
    stride=st.integers(1, 3),
    padding=st.integers(0, 4),
    side=st.integers(9, 14),
    has_bias=st.booleans(),
    is_last=st.booleans(),
)
def test_gradients_are_those_of_the_convolution(
    width: int, stride: int, padding: int, side: int, has_bias: bool, is_last: bool
) -> None:
    generator = torch.Generator().manual_seed(width)
    shapes = [(2, 3, side, side + 1), (3, 1, width, width), (3,)][: 2 + has_bias]
    given = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    if is_last:
        given[0] = given[0].contiguous(memory_format=torch.channels_last)
    for tensor in given:
        tensor.requires_grad_()
    pictures, kernels, *bias = given
    expected = F.conv2d(pictures, kernels, *bias or [None], stride, padding, groups=3)
    found = DepthwiseConvolution.apply(pictures, kernels, *bias or [None], stride, padding)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(found, given, upstream),
        torch.autograd.grad(expected, given, upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("width", "stride"), [(5, 2), (3, 2), (5, 1)])
def test_gradients_can_be_differentiated(width: int, stride: int) -> None:
    torch.manual_seed(0)
    given = [torch.randn(shape, dtype=torch.float64) for shape in [(1, 2, 6, 6), (2, 1, width, width), (2,)]]
    for tensor in given:
        tensor.requires_grad_()
    call = lambda *tensors: DepthwiseConvolution.apply(*tensors, stride, width // 2)  # noqa: E731
    assert torch.autograd.gradcheck(call, given)
    assert torch.autograd.gradgradcheck(call, given)


# `same`: timm's layer, which pads its pictures itself, as in EfficientNets whose weights come from TensorFlow
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False),
        nn.Conv2d(8, 8, 7, padding=3, groups=8),
        create_conv2d(8, 8, 5, stride=2, padding="same", depthwise=True),
    ],
    ids=["5x5, stride 2", "3x3, stride 2", "7x7", "same"],
)
def test_no_gradient_of_a_depthwise_layer_is_slow(layer: nn.Module) -> None:
    pictures = torch.randn(4, 8, 13, 13, requires_grad=True)
    with SlowGradients() as native:
        expected = gradients(layer, pictures, torch.autocast("cpu", torch.bfloat16))
    with SlowGradients() as ours:
        found = gradients(layer, pictures, CPU_BF16.autocast())
    assert native.count and not ours.count
    assert [tensor.dtype for tensor in found] == [tensor.dtype for tensor in expected]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-2 * float(other.detach().abs().max()))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, padding=1, groups=8),  # its gradients are quick
        nn.Conv2d(8, 8, 5, stride=2, groups=4),
        nn.Conv2d(8, 16, 5, stride=2, groups=8),
        nn.Conv2d(8, 8, 5, dilation=2, groups=8),
        nn.Conv2d(8, 8, (3, 5), stride=2, groups=8),
        nn.Conv2d(8, 8, 3, stride=(2, 1), groups=8),
        nn.Conv2d(8, 8, 5, padding="same", groups=8),
    ],
    ids=str,
)
def test_other_convolutions_keep_their_bits(layer: nn.Module) -> None:
    for shape in [(2, 8, 13, 13), (8, 13, 13)]:  # a picture alone has no axis of pictures
        pictures = torch.randn(shape, requires_grad=True)
        expected = gradients(layer, pictures, torch.autocast("cpu", torch.bfloat16))
        for one, other in zip(gradients(layer, pictures, CPU_BF16.autocast()), expected, strict=True):
            assert torch.equal(one, other)


def test_float32_and_forward_passes_keep_their_bits() -> None:
    layer = nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8)
    pictures = torch.randn(4, 8, 13, 13, requires_grad=True)
    expected = gradients(layer, pictures, torch.enable_grad())
    with CPU_BF16.autocast():
        exact = gradients(layer, pictures, torch.autocast("cpu", enabled=False))
    for one, other in zip(exact, expected, strict=True):
        assert torch.equal(one, other)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        native = layer(pictures)
    with torch.inference_mode(), CPU_BF16.autocast():
        assert torch.equal(layer(pictures), native)
