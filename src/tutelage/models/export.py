"""Networks as ONNX files, for machines without PyTorch, and sessions that run them.

onnx and onnxruntime are an extra and are imported where they are used: without them everything else works.
"""

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.types import BadInput, Network

FILES = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}  # by precision, in a folder
OPSET = 17  # from 2022: what deployed runtimes know; the newest that the exporter below writes is 20
INSTALL = "pip install -c constraints.txt -e '.[export]'"


class _Logits(nn.Module):
    """What a deployed network is asked: images in, logits out. Maps and embedding are dropped from the graph."""

    def __init__(self, net: Network):
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images).logits


def write_fp32(net: Network, path: Path, *, size: int) -> None:
    """`net` in eval mode as a graph from `images` [n, 3, size, size] in 0..1 to `logits` [n, c], for any n.

    By the exporter of TorchScript: it is deprecated, but torch 2.11 to 2.14 have it, it needs no further package, is
    done in a tenth of a second, and equal weights are equal bytes (docs/decisions/0002). BadInput without the extra.
    """
    _import("onnx")
    # The wrapper is put into eval mode too: the exporter leaves a network in the mode in which it found the outermost.
    asked, example = _Logits(net).eval(), torch.zeros(2, 3, size, size)
    any_number = {"images": {0: "n"}, "logits": {0: "n"}}
    with warnings.catch_warnings(), _unchecked_shapes():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            asked.cpu(), (example,), str(path), dynamo=False, opset_version=OPSET, input_names=["images"],
            output_names=["logits"], dynamic_axes=any_number,
        )  # fmt: skip


def write_fp16(fp32: Path, path: Path) -> None:
    """Weights and arithmetic in half precision: half the bytes. Images and logits stay float32."""
    onnx, half = _import("onnx"), _import("onnxruntime.transformers.float16")
    onnx.save(half.convert_float_to_float16(onnx.load(fp32), keep_io_types=True), path)


def write_int8(fp32: Path, path: Path) -> None:
    """Weights as 8-bit integers, activations scaled to 8 bits batch by batch as they come: no calibration images."""
    quantization = _import("onnxruntime.quantization")
    logging.disable(logging.WARNING)  # it advises a preparation that changes nothing for a graph without its shapes
    try:
        # Unsigned: signed weights of convolutions are not run by every version of onnxruntime.
        quantization.quantize_dynamic(fp32, path, weight_type=quantization.QuantType.QUInt8)
    finally:
        logging.disable(logging.NOTSET)


class CannotRun(RuntimeError):
    """onnxruntime refuses a file, or fails on it: an operator, say, that it does not have at this precision."""


class Session:
    """An ONNX file on the CPU, for images as arrays. Raises CannotRun where it is made, or asked."""

    def __init__(self, path: Path, *, threads: int):
        runtime = _import("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        with _told():
            self._run = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run

    def __call__(self, images: Float[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n c"]:
        with _told():
            logits: np.ndarray = self._run(["logits"], {"images": images})[0]
        return logits


@contextmanager
def _told() -> Iterator[None]:
    """onnxruntime's errors, which have nothing in common but Exception, as CannotRun."""
    errors = _import("onnxruntime.capi.onnxruntime_pybind11_state")
    names = (
        "EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException",
    )  # fmt: skip
    try:
        yield
    except tuple(getattr(errors, name) for name in names) as error:
        raise CannotRun(f"{error}") from error


@contextmanager
def _unchecked_shapes() -> Iterator[None]:
    """While a network is traced its sizes are tensors, at which the checks of shapes under test would stumble."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise BadInput(f"{error.name} is not installed. Install what exports: {INSTALL}") from error
