"""A forward pass whose gradients can be differentiated in turn."""

import contextlib
from collections.abc import Callable, Generator, Mapping
from typing import Any

from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def twice_differentiable() -> Generator[None]:
    """Inside, functions whose gradient torch cannot differentiate are computed in several steps, which it can.

    They are fused attention, and the hard sigmoid of MobileNetV3 and related networks.
    """
    with sdpa_kernel(SDPBackend.MATH), _HardSigmoidInSteps():
        yield


class _HardSigmoidInSteps(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.hardsigmoid:
            return F.relu6(args[0] + 3) / 6
        return func(*args, **(kwargs or {}))
