"""Networks that crash in the memory format that is fastest for the others."""

from torch import nn


def takes_channels_last(network: nn.Module) -> bool:
    """Whether a network may be computed in the memory format `torch.channels_last`.

    Not where it has a 1x1 convolution of stride 2 on 3 channels (repvgg_*'s first shortcut): PyTorch's backward pass of
    that layer writes past its memory on CPUs with AVX2 ("corrupted size", "double free") and ends the process.
    """
    return not any(
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        and layer.in_channels <= 3
        for layer in network.modules()
    )
