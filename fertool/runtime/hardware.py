"""The device that computes, its number format, and its name in a record."""

import contextlib
import ctypes
import os
import platform
import random
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch

from fertool.errors import UserError
from fertool.runtime.depthwise_kernel import QuickDepthwise

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")

# A core's caches hold the activations of few pictures, and glibc gives blocks above 32 MB back after every layer:
# Grad-CAM of `cnn` takes twice as long for a face at 256 as at 64. The bits are the same.
MOST_ON_CPU = 64

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


@dataclass(frozen=True)
class Compute:
    """A device and a number format for the arithmetic on it."""

    device: torch.device
    precision: str  # "fp32" or "bf16"

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """The context in which networks run: bfloat16 autocast, or nothing."""
        return _bfloat16(self.device.type) if self.precision == "bf16" else contextlib.nullcontext()

    def batch_size(self, on_gpu: int) -> int:
        """Pictures that the device takes at once where no training decides it, from the number that a GPU takes."""
        return min(on_gpu, MOST_ON_CPU) if self.device.type == "cpu" else on_gpu


@contextlib.contextmanager
def _bfloat16(device: str) -> Generator[None]:
    quick = QuickDepthwise() if device == "cpu" else contextlib.nullcontext()
    with torch.autocast(device, dtype=torch.bfloat16), quick:
        yield


def choose_compute(device: str = "auto", precision: str = "auto") -> Compute:
    """Resolve `auto`: the first GPU there is, and bfloat16 where the device multiplies in it.

    Raises UserError for a device that is not there and for a name that is none.
    """
    if device not in DEVICES:
        raise UserError(f"no device '{device}'; there are {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        raise UserError(f"no precision '{precision}'; there are {', '.join(PRECISIONS)}")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, there in available.items() if there)
    if not available[device]:
        raise UserError(f"PyTorch finds no '{device}' device on this machine; use --device auto")
    if precision == "auto":
        precision = "bf16" if _multiplies_bfloat16(device) else "fp32"
    return Compute(torch.device(device), precision)


def _multiplies_bfloat16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        can = torch.cpu.get_capabilities()
        return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
    return False


def seed_everything(seed: int) -> None:
    """Seed every generator that a network's layers could draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def keep_freed_memory() -> None:
    """Keep memory that this process frees for its next step, where the C library is glibc.

    By default glibc gives a step's activations back to the kernel (a thousand pages for `cnn`) and takes them again
    in the next step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, 256 * 2**20)
        mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the largest that it takes


def describe_hardware(compute: Compute) -> dict[str, str | int]:
    """A description of the machine, for records."""
    if compute.device.type == "cuda":
        name = torch.cuda.get_device_name(compute.device)
    else:
        name = str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine())
    return {
        "device": compute.device.type,
        "name": name,
        "precision": compute.precision,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count() or 1,
    }
