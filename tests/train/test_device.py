"""What is set once in a process before anything is computed."""

import platform
import resource

import pytest
import torch

from tutelage.train.device import accelerator
from tutelage.train.settings import Compute


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library is left as it is")
def test_what_a_step_frees_the_next_one_has():
    """A page that the kernel clears anew is a minor fault: 160 MB in each step are 40,960 of them."""

    def step():
        return [torch.ones(1 << 20) for _ in range(40)]

    accelerator(Compute(threads=1, device="cpu"))
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 40_960
