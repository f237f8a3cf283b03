"""Where and how precisely a run computes."""

import torch
from accelerate import Accelerator

from tutelage.train.settings import Compute


def accelerator(compute: Compute) -> Accelerator:
    """Hugging Face Accelerate on the device asked for. Also sets torch's threads."""
    torch.set_num_threads(compute.threads)
    cpu = compute.device == "cpu" or not torch.cuda.is_available()
    return Accelerator(mixed_precision=precision(compute, cpu=cpu), cpu=cpu)


def precision(compute: Compute, *, cpu: bool) -> str:
    """ "bf16" or "no", in Accelerate's words. bf16 without hardware for it is slower than fp32."""
    if compute.precision == "auto":
        fast = torch.cpu._is_avx512_bf16_supported() if cpu else torch.cuda.is_bf16_supported()
        return "bf16" if fast else "no"
    return "bf16" if compute.precision == "bf16" else "no"
