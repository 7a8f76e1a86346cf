# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Lets Megatron-core and NeMo run on a machine without CUDA.

Both assume a GPU in a handful of places: buffers are made on "cuda", streams are synchronised, random states are taken
from the device, the optimizer asserts on CUDA tensor types. :func:`install` answers those calls for the CPU, with the
same modules, schedules, optimizers and checkpoints above them. It does nothing where CUDA is present, is installed at
most once, and is the only place of the package that replaces anything in another library.

What is replaced, and why:

    torch.cuda.current_device, synchronize, streams   asked for around every step, checkpoint and communication
    torch.cuda random state                           mapped to the CPU generator (dropout, Megatron's RNG tracker)
    torch.cuda.max_memory_*, empty_cache              NeMo reports memory after every step
    Tensor.cuda, device="cuda", pin_memory            buffers of schedules, gradients, logged values
    Tensor.type()                                     clip_grads compares it with "torch.cuda.FloatTensor"
    torch.compile, while Megatron is imported         its kernels are not used, and the compiler takes seconds to load
    torch's load_inline, meanwhile too                Megatron builds a CUDA extension, which fails without a device
    wandb, TensorBoard, multistorageclient            cannot be imported meanwhile: Megatron can log and store by
                                                      them, is never asked to, and they take a second to load
    transformer_engine, apex                          cannot be imported: Megatron takes their kernels where it can
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch.utils import cpp_extension


logger = logging.getLogger(__name__)


class _Stream:
    """A stream on a device that has none: all work is already in order."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def wait_stream(self, stream: Any) -> None:
        """Wait for another stream: nothing to wait for."""

    def synchronize(self) -> None:
        """Wait for this stream: nothing to wait for."""


def _names_cuda(device: Any) -> bool:
    if isinstance(device, bool):
        return False
    if isinstance(device, torch.device):
        return bool(device.type == "cuda")
    # An int is what torch.cuda.current_device() returned.
    return isinstance(device, int) or (isinstance(device, str) and device.startswith("cuda"))


class _CudaOnCpu(torch.overrides.TorchFunctionMode):
    """Answers calls that name a CUDA device with the CPU."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.Tensor.cuda:
            return args[0]
        if function is torch.Tensor.type and len(args) == 1 and not kwargs:
            return function(*args).replace("torch.", "torch.cuda.", 1)
        if function is torch.Tensor.to and len(args) > 1 and _names_cuda(args[1]):
            args = (args[0], "cpu", *args[2:])
        if kwargs:
            kwargs = dict(kwargs)
            if "device" in kwargs and _names_cuda(kwargs["device"]):
                kwargs["device"] = "cpu"
            if kwargs.get("pin_memory"):
                kwargs["pin_memory"] = False
            return function(*args, **kwargs)
        return function(*args)


_mode: _CudaOnCpu | None = None


def is_installed() -> bool:
    """Return whether the CPU stands in for CUDA in this process."""
    return _mode is not None


def install() -> bool:
    """Make Megatron-core and NeMo run on the CPU, if there is no CUDA device.

    Call it before the first import of NeMo. Calling it again changes nothing.

    Returns:
        Whether the CPU stands in for CUDA from now on.
    """
    global _mode
    if torch.cuda.is_available():
        return False
    if _mode is None:
        _replace_device_calls()
        _hide_kernels()
        with _without_compiling(), _without(*_UNUSED_BY_MEGATRON):
            _replace_random_state()
        _mode = _CudaOnCpu()
        _mode.__enter__()
        logger.debug("no CUDA device: Megatron runs on the CPU")
    return True


@contextlib.contextmanager
def set_aside() -> Iterator[None]:
    """Answer no calls for a while: the mode is asked before each of torch's operations, which takes microseconds.

    Nothing that names a CUDA device may be called meanwhile, but within :func:`asked_again`. Replaced functions of
    torch stay replaced. Where another mode lies above, or in another thread, nothing changes.
    """
    if _mode is None or torch.overrides._get_current_function_mode() is not _mode:
        yield
        return
    _mode.__exit__(None, None, None)
    try:
        yield
    finally:
        _mode.__enter__()


@contextlib.contextmanager
def asked_again() -> Iterator[None]:
    """Answer calls also within :func:`set_aside`; elsewhere they are answered twice, which changes nothing."""
    with _mode or contextlib.nullcontext():
        yield


def _hide_kernels() -> None:
    """Let Megatron and NeMo find no Transformer Engine and no Apex.

    Both can be installed where no device is, as in a container without GPUs. Megatron then clips gradients and scales
    them with their kernels whatever the layers are, and the first step fails.
    """
    for package in ("transformer_engine", "apex"):
        # Python's own way to say that there is no such module.
        cast(dict[str, Any], sys.modules).setdefault(package, None)


_UNUSED_BY_MEGATRON = ("wandb", "torch.utils.tensorboard", "multistorageclient")


@contextlib.contextmanager
def _without(*packages: str) -> Iterator[None]:
    """Let packages seem to be missing that nobody has imported yet; later they can be imported as ever."""
    modules = cast(dict[str, Any], sys.modules)
    hidden = [package for package in packages if package not in modules]
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for package in hidden:
            modules.pop(package)


@contextlib.contextmanager
def _without_compiling() -> Iterator[None]:
    """Compile nothing while Megatron is imported.

    It hands its fused kernels to torch.compile, and builds an allocator for CUDA: where the CUDA toolkit is installed
    and no device is (a login node, a container without GPUs) torch fails then with an error that Megatron does not
    expect.
    """
    compile_function, load_inline = torch.compile, cpp_extension.load_inline
    torch.compile = lambda function=None, **options: function if function else (lambda later: later)
    cpp_extension.load_inline = _no_extension
    try:
        yield
    finally:
        torch.compile, cpp_extension.load_inline = compile_function, load_inline


def _no_extension(*args: Any, **kwargs: Any) -> None:
    # What Megatron takes as "this machine has no such allocator".
    raise RuntimeError("no CUDA device to build an extension for")


def _replace_device_calls() -> None:
    cuda = torch.cuda
    cuda.current_device = lambda: 0
    cuda.set_device = lambda device: None
    cuda.synchronize = lambda device=None: None
    cuda.empty_cache = lambda: None
    cuda.Stream = _Stream
    cuda.stream = lambda stream: contextlib.nullcontext()
    cuda.current_stream = cuda.default_stream = lambda device=None: _Stream()
    cuda.max_memory_allocated = cuda.max_memory_reserved = lambda device=None: 0
    # Asserted by NeMo when it restores a checkpoint.
    cuda.is_initialized = lambda: True


def _replace_random_state() -> None:
    from megatron.core.tensor_parallel import random

    def get_state(device: Any = None, **kwargs: Any) -> torch.Tensor:
        return torch.get_rng_state()

    def set_state(state: torch.Tensor, device: Any = None, **kwargs: Any) -> None:
        torch.set_rng_state(state)

    torch.cuda.get_rng_state, torch.cuda.set_rng_state = get_state, set_state
    torch.cuda.manual_seed = torch.manual_seed
    random._get_cuda_rng_state, random._set_cuda_rng_state = get_state, set_state
    # Megatron warns when the CPU state moves inside a fork of the GPU state; here the two are one by design.
    logging.getLogger(random.__name__).setLevel(logging.ERROR)
