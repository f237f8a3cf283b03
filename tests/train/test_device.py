"""What is set once in a process before anything is computed."""

import platform
import resource

import pytest
import torch

from tutelage.train.device import accelerator, arithmetic
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


def test_arithmetic_is_that_of_the_machine_where_it_is_left_open(monkeypatch):
    """Or what is begun in fp32 on one machine would go on in bf16 on another, without a word."""
    found = {}
    for gpu, fast in ((False, False), (False, True), (True, False), (True, True)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda fast=fast: fast)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast)
        found[gpu, fast] = arithmetic(Compute())
        assert arithmetic(Compute(device="cpu", precision="fp32")) == (2, "no", "cpu")
    assert found == {
        (False, False): (2, "no", "cpu"),
        (False, True): (2, "bf16", "cpu"),
        (True, False): (2, "no", "cuda"),
        (True, True): (2, "bf16", "cuda"),
    }
