"""A step of every method on a GPU that need not be there: its tensors have a device and a type, and no numbers."""

from contextlib import contextmanager

import pytest
import test_detection_methods
import test_methods
import test_multitask_methods
import torch
from multi_fixtures import multi_batch, multi_nets
from scene_fixtures import detector_nets, scene_batch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._pytree import tree_map

WAITS = {  # why a method whose name begins so asks the GPU for a number in a step
    "stac-mixed": "boxes of which a mosaic shows too little are left out",
    "stac-online": "the teacher answers with boxes",
    "unbiased_teacher": "the teacher answers with boxes, once the run has burned in",
    "mic": "half of the classes that an image shows are drawn",
}
APART = {"must-gradnorm": "torch.autograd.grad asks for the GPU itself"}
MULTITASK = {name: method for name, method in test_multitask_methods.ALL.items() if name not in APART}


def every(methods):
    return pytest.mark.parametrize(("name", "method"), list(methods.items()), ids=list(methods))


@contextmanager
def bf16():
    """CUDA's autocast, which torch.autocast turns off where no GPU is."""
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(True)
        torch.set_autocast_enabled("cuda", False)


def on_gpu(x):
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="cuda") if torch.is_tensor(x) else x


def move(nets):
    """Weights that networks share stay shared."""
    made = {}
    for module in dict.fromkeys(module for net in nets for module in net.modules()):
        for name, old in list(module.named_parameters(recurse=False)):
            made.setdefault(old, nn.Parameter(on_gpu(old), requires_grad=old.requires_grad))
            setattr(module, name, made[old])
        for name, old in list(module.named_buffers(recurse=False)):
            setattr(module, name, on_gpu(old))


def stepped(method, nets, batch):
    """Where each term lies, and its type. Raises where a tensor of the CPU comes in, or a number is asked for."""
    with FakeTensorMode():
        move(nets)
        with bf16():
            terms = method.loss(nets, tree_map(on_gpu, batch))
        method.after_step(nets, 1)
    return {(term.device.type, term.dtype) for term in terms.values()}


def owes(name, method, nets, batch):
    if name.startswith(tuple(WAITS)):
        with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
            stepped(method, nets, batch)
    else:
        assert stepped(method, nets, batch) == {("cuda", torch.float32)}


@test_methods.every_method
def test_a_classifier_learns_on_the_gpu_alone_never_waits_for_it_and_adds_up_in_float32(method, make_nets, batch):
    assert stepped(method, make_nets(method), batch) == {("cuda", torch.float32)}


@every(test_detection_methods.ALL)
def test_a_detector_learns_on_the_gpu_alone_never_waits_for_it_and_adds_up_in_float32(name, method):
    owes(name, method, detector_nets(method), scene_batch())


@every(MULTITASK)
def test_several_tasks_are_learned_on_the_gpu_alone_without_a_wait_and_added_up_in_float32(name, method):
    owes(name, method, multi_nets(method), multi_batch())
