"""The prefixes that training programs put before the names of a network's tensors."""

from collections.abc import Collection

from torch import Tensor

# of DistributedDataParallel, torch.compile, and of modules that hold a network, as Lightning's
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
DEEPEST = 3  # prefixes one inside the other


def without_prefixes(tensors: dict[str, Tensor], names: Collection[str]) -> tuple[dict[str, Tensor], str]:
    """The tensors under the names with which most of them are a network's, and the prefixes taken off for it.

    `names` are the network's. A prefix comes off wherever it stands, as a backbone may have one that its head has
    not. Tensors stay as they are where no prefix brings them nearer.
    """
    wanted = set(names)
    best, taken_off = tensors, ""
    candidates = [(tensors, "")]
    for _ in range(DEEPEST):
        candidates = [
            (shorter, before + prefix)
            for candidate, before in candidates
            for prefix in PREFIXES
            if (shorter := _shortened(candidate, prefix)) is not None
        ]
        for candidate, prefixes in candidates:
            if len(wanted & candidate.keys()) > len(wanted & best.keys()):
                best, taken_off = candidate, prefixes
    return best, taken_off


def _shortened(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor] | None:
    """The tensors without the prefix; None where none has it, and where two would have one name."""
    if not any(name.startswith(prefix) for name in tensors):
        return None
    shorter = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return shorter if len(shorter) == len(tensors) else None
