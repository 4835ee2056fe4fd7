"""Gradients of depthwise convolutions in bfloat16 on a CPU, where PyTorch has no quick kernel for all of them.

PyTorch (2.14) computes two of these gradients by a reference kernel: that of the pictures where the stride is above 1,
and that of the kernels where they are larger than 3x3. In EfficientNet-Lite0 at 96 pixels they take four fifths of a
training step. Both follow from gradients that it computes quickly.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

QUICK_KERNEL = 3  # the largest whose gradient is computed quickly


class QuickDepthwise(TorchFunctionMode):
    """The context in which such convolutions have gradients that are computed quickly; everything else stays."""

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d and torch.is_grad_enabled():
            return _conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.conv2d`, by DepthwiseConvolution where PyTorch's own gradient is slow."""
    step, border = _both(stride), _both(padding)
    is_slow = (
        input.ndim == 4
        and input.device.type == "cpu"
        and _format(input) == _format(weight) == torch.bfloat16
        and groups == input.shape[1] == weight.shape[0]
        and _both(dilation) == 1
        and step is not None
        and border is not None
        and weight.shape[2] == weight.shape[3]
        and (step > 1 or weight.shape[2] > QUICK_KERNEL)
    )
    if not is_slow:
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    pictures, kernels = input.bfloat16(), weight.bfloat16()
    return DepthwiseConvolution.apply(
        pictures, kernels, None if bias is None else bias.bfloat16(), step, border
    )


def _format(tensor: Tensor) -> torch.dtype:
    """The format in which a convolution takes the tensor."""
    if torch.is_autocast_enabled("cpu") and tensor.dtype != torch.float64:
        return torch.get_autocast_dtype("cpu")
    return tensor.dtype


def _both(value: Any) -> int | None:
    """The number for rows and columns; None where they differ, or where it is a word."""
    if isinstance(value, int):
        return value
    numbers = set(value)
    return numbers.pop() if len(numbers) == 1 and not isinstance(value, str) else None


class DepthwiseConvolution(torch.autograd.Function):
    """A depthwise convolution: pictures (B, C, H, W), kernels (C, 1, k, k), a bias (C,) or None, stride and padding."""

    @staticmethod
    def forward(
        ctx: Any, pictures: Tensor, kernels: Tensor, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        """The convolution's output, (B, C, h, w)."""
        ctx.save_for_backward(pictures, kernels)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(pictures, kernels, bias, stride, padding, groups=len(kernels))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of pictures, kernels and bias, from that of the output."""
        (gradient,) = gradients
        pictures, kernels = ctx.saved_tensors
        of_pictures, of_kernels, of_bias = ctx.needs_input_grad[:3]
        return (
            _gradient_of_pictures(gradient, pictures, kernels, ctx.stride, ctx.padding)
            if of_pictures
            else None,
            _gradient_of_kernels(gradient, pictures, kernels, ctx.stride, ctx.padding)
            if of_kernels
            else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
        )


def _gradient_of_pictures(
    gradient: Tensor, pictures: Tensor, kernels: Tensor, stride: int, padding: int
) -> Tensor:
    """That of stride 1, for a gradient with zeros where larger steps made no output."""
    if stride > 1:
        rows, columns = (size + 2 * padding - kernels.shape[-1] + 1 for size in pictures.shape[2:])
        shape = (*gradient.shape[:2], rows, columns)
        spread = torch.empty(shape, dtype=gradient.dtype, memory_format=_layout(pictures)).zero_()
        spread[:, :, ::stride, ::stride] = gradient
        gradient = spread
    return _gradients(gradient, pictures, kernels, 1, padding, (True, False))[0]


def _gradient_of_kernels(
    gradient: Tensor, pictures: Tensor, kernels: Tensor, stride: int, padding: int
) -> Tensor:
    """That of each block of 3x3 weights, for which pictures are shifted; blocks at the end overlap."""
    width = kernels.shape[-1]
    if width <= QUICK_KERNEL:
        return _gradients(gradient, pictures, kernels, stride, padding, (False, True))[1]
    padded = F.pad(pictures, [padding] * 4)
    last = width - QUICK_KERNEL
    starts = [*range(0, last, QUICK_KERNEL), last]
    rows, columns = ((size - 1) * stride + QUICK_KERNEL for size in gradient.shape[2:])
    found = torch.zeros_like(kernels)
    for top in starts:
        for left in starts:
            shifted = padded[:, :, top : top + rows, left : left + columns]
            shifted = shifted.contiguous(memory_format=_layout(pictures))
            block = (..., slice(top, top + QUICK_KERNEL), slice(left, left + QUICK_KERNEL))
            found[block] = _gradients(gradient, shifted, kernels[block], stride, 0, (False, True))[1]
    return found


def _gradients(
    gradient: Tensor,
    pictures: Tensor,
    kernels: Tensor,
    stride: int,
    padding: int,
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor]:
    """PyTorch's gradients of pictures and kernels; those that are not wanted are None."""
    steps, borders, asked = [stride] * 2, [padding] * 2, [*wanted, False]
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, pictures, kernels, None, steps, borders, [1, 1], False, [0, 0], len(kernels), asked
    )
    return found[:2]


def _layout(pictures: Tensor) -> torch.memory_format:
    is_last = pictures.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last else torch.contiguous_format
