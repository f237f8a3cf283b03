"""Where and how precisely a run computes."""

import ctypes
import os
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator

from tutelage.train.settings import Compute

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def accelerator(compute: Compute) -> Accelerator:
    """Hugging Face Accelerate on the device asked for. Also sets torch's threads, and has memory kept."""
    torch.set_num_threads(compute.threads)
    keep_memory()
    cpu = compute.device == "cpu" or not torch.cuda.is_available()
    return Accelerator(mixed_precision=precision(compute, cpu=cpu), cpu=cpu)


def arithmetic(compute: Compute) -> tuple[int | str, ...]:
    """What the numbers of a run depend on, of this machine: threads, precision, "cpu" or "cuda", and shares if several.

    Workers and the time between checkpoints change none.
    """
    cpu = compute.device == "cpu" or not torch.cuda.is_available()
    shares = (f"{compute.accumulate} shares",) if compute.accumulate > 1 else ()
    return compute.threads, precision(compute, cpu=cpu), "cpu" if cpu else "cuda", *shares


def precision(compute: Compute, *, cpu: bool) -> str:
    """ "bf16" or "no", in Accelerate's words. bf16 without hardware for it is slower than fp32."""
    if compute.precision == "auto":
        fast = torch.cpu._is_avx512_bf16_supported() if cpu else torch.cuda.is_bf16_supported()
        return "bf16" if fast else "no"
    return "bf16" if compute.precision == "bf16" else "no"


def random_state() -> dict[str, Any]:
    """Torch's, of the CPU and of the one GPU that a process computes on."""
    return {
        "random": torch.get_rng_state(),
        "random_cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
    }


def put_back_random(state: Mapping[str, Any]) -> None:
    """As `random_state` told it. Where `state` is of several GPUs, this process goes on with the first one's."""
    torch.set_rng_state(state["random"])
    if state["random_cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["random_cuda"][0])


def keep_memory() -> None:
    """Have glibc keep up to 256 MiB that were freed.

    Else it hands a step's tensors back to the kernel, which clears each page anew in the next one. Nothing changes
    where the C library has no `mallopt`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the most that glibc takes
        mallopt(M_TRIM_THRESHOLD, 256 << 20)
