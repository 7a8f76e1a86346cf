# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What the weights folder of a checkpoint may hold: parts of it are unpickled, and a pickle can run anything.

:func:`check_weights` reads every pickle of the folder with names of classes allowed one by one, before Megatron opens
it. This is the only module that unpickles.
"""

import contextlib
import io
import json
import pickle
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import megatron.core
import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata

from bionemo.scale.types import InputError


METADATA_NAME = ".metadata"
COMMON_NAME = "common.pt"
BACKEND_NAME = "metadata.json"
_FORMAT = {"sharded_backend": "torch_dist", "common_backend": "torch"}

_DESCRIPTION: Mapping[str, frozenset[str]] = {
    "collections": frozenset({"OrderedDict"}),
    "pathlib": frozenset({"PosixPath", "PurePosixPath"}),
    "torch": frozenset(
        {"Size", *(name for name, value in vars(torch).items() if isinstance(value, torch.dtype | torch.layout))}
    ),
    "torch.serialization": frozenset({"_get_layout"}),
    "torch.distributed.checkpoint.filesystem": frozenset({"_StorageInfo"}),
    "torch.distributed.checkpoint.metadata": frozenset(
        {
            "BytesStorageMetadata",
            "ChunkStorageMetadata",
            "Metadata",
            "MetadataIndex",
            "StorageMeta",
            "TensorProperties",
            "TensorStorageMetadata",
            "_MEM_FORMAT_ENCODING",
        }
    ),
    "torch.distributed.checkpoint.planner": frozenset(
        {"BytesIOWriteData", "SavePlan", "TensorWriteData", "WriteItem", "WriteItemType"}
    ),
    "megatron.core.dist_checkpointing.strategies.torch": frozenset({"MCoreMetadata", "MCoreSavePlan"}),
}
"""Classes that describe tensors in ``.metadata``, by module."""
_SCALES: Mapping[str, frozenset[str]] = {
    "collections": frozenset({"OrderedDict", "deque"}),
    "torch": frozenset({"FloatStorage", "ByteStorage", "float32", "uint8"}),
    "torch._utils": frozenset({"_rebuild_tensor_v2"}),
    "torch.storage": frozenset({"_load_from_bytes"}),
}
"""Of Transformer Engine's FP8 state, which it unpickles when a run continues, beside its own recipes."""
_RECIPES = "transformer_engine.common.recipe"


def check_weights(folder: Path) -> None:
    """Refuse weights that would run code when they are loaded, or that are cut off.

    Args:
        folder: ``weights`` of a checkpoint.

    Raises:
        InputError: Something in it is not what Megatron saves.
    """
    _check_names(folder)
    _check_backend(folder / BACKEND_NAME)
    metadata = _read_metadata(folder / METADATA_NAME)
    for index, storage in metadata.storage_data.items():
        path = folder / storage.relative_path
        if path.parent != folder or storage.transform_descriptors or not path.is_file():
            raise _refusal(folder, f"expected {index.fqn} in a file of this folder, found {storage.relative_path!r}")
        if not 0 <= storage.offset <= storage.offset + storage.length <= path.stat().st_size:
            raise _refusal(folder, f"{path.name} is shorter than {METADATA_NAME} says")
    if (folder / COMMON_NAME).is_file():
        with (folder / COMMON_NAME).open("rb") as file:
            _load_plain(file, folder / COMMON_NAME)
    _check_objects(folder, metadata)


def _check_names(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        known = path.name in (METADATA_NAME, BACKEND_NAME, COMMON_NAME) or path.suffix == ".distcp"
        # NeMo and its plugins unpickle what lies here under other names (modelopt_state/common.pt).
        if path.is_dir() or not (known or path.name.startswith(".")):
            raise _refusal(
                folder, f"expected {METADATA_NAME}, {BACKEND_NAME}, {COMMON_NAME} and *.distcp, found {path.name}"
            )


def _check_backend(path: Path) -> None:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        found = {name: fields.get(name, default) for name, default in _FORMAT.items()}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise _refusal(path.parent, f"{path.name} is no JSON object: {error}") from error
    if found != _FORMAT:
        raise _refusal(path.parent, f"expected the format {_FORMAT} in {path.name}, found {found}")


def _read_metadata(path: Path) -> Metadata:
    try:
        metadata = _Unpickler(path.read_bytes(), _DESCRIPTION).load()
    except InputError as error:
        raise _refusal(path.parent, f"{path.name} {error}") from error
    except Exception as error:
        # What a damaged pickle raises is any of a dozen types.
        raise _refusal(
            path.parent, f"{path.name} is damaged ({type(error).__name__}: {_first_line(error)})"
        ) from error
    has_tables = isinstance(metadata, Metadata) and isinstance(metadata.storage_data, dict)
    if not has_tables or not isinstance(metadata.state_dict_metadata, dict):
        raise _refusal(path.parent, f"{path.name} must describe tensors, found {type(metadata).__name__}")
    return metadata


def _check_objects(folder: Path, metadata: Metadata) -> None:
    """Read everything that is not described as a tensor: torch unpickles it without asking what it is."""
    objects = {name for name, entry in metadata.state_dict_metadata.items() if isinstance(entry, BytesStorageMetadata)}
    for index, storage in metadata.storage_data.items():
        if index.fqn not in objects:
            continue
        path = folder / storage.relative_path
        with path.open("rb") as file:
            file.seek(storage.offset)
            value = _load_plain(io.BytesIO(file.read(storage.length)), path)
        _check_scales(value, folder, index.fqn)


def _load_plain(file: Any, path: Path) -> Any:
    """Return tensors and plain values from what :func:`torch.save` wrote."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = _first_line(error).removeprefix("Weights only load failed. ")
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            name = next((line for line in str(error).split() if "." in line and "torch" not in line), "a function")
            reason = f"holds {name.strip('`.,')}, and only tensors and plain values are read"
        raise _refusal(path.parent, f"{path.name} cannot be read: {reason[:200]}") from error


def _check_scales(value: Any, folder: Path, name: str) -> None:
    """Check what Transformer Engine has pickled and put in a tensor of bytes."""
    blob = value.getvalue() if isinstance(value, io.BytesIO) else None
    if isinstance(value, torch.Tensor) and value.dtype == torch.uint8 and value.numel():
        blob = value.contiguous().numpy().tobytes()
    if not blob:
        return
    if blob[:2] == b"PK":
        _load_plain(io.BytesIO(blob), folder / name)
        return
    try:
        _ScalesUnpickler(blob, _SCALES).load()
    except InputError as error:
        raise _refusal(folder, f"{name} {error}") from error
    except Exception as error:
        raise _refusal(folder, f"{name} is damaged ({type(error).__name__}: {_first_line(error)})") from error


class _Inert:
    """Stands for an allowed class that need not be made: takes anything and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Inert":
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Add nothing."""


class _Unpickler(pickle.Unpickler):
    """Finds the allowed names and no others."""

    def __init__(self, data: bytes, allowed: Mapping[str, frozenset[str]]) -> None:
        # The place of a remembered object is a number in the pickle, and memory is taken up to it.
        for operation, argument, _ in pickletools.genops(data):
            if operation.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(data):
                raise InputError("asks for more memory than a description can need")
        super().__init__(io.BytesIO(data))
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed class."""
        if name not in self._allowed.get(module, ()):
            raise InputError(_unknown(module, name))
        try:
            return super().find_class(module, name)
        except (AttributeError, ImportError) as error:
            raise InputError(_unknown(module, name)) from error


class _ScalesUnpickler(_Unpickler):
    """Looks at the names and makes nothing: this machine need not have Transformer Engine."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for an allowed class."""
        if name not in self._allowed.get(module, ()) and (module != _RECIPES or "." in name):
            raise InputError(_unknown(module, name))
        # The one of them that unpickles.
        return _check_bytes if name == "_load_from_bytes" else _Inert


def _check_bytes(data: bytes) -> _Inert:
    torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return _Inert()


def _unknown(module: str, name: str) -> str:
    if module.startswith(("megatron.core.", "torch.distributed.")) and "." not in name:
        # The weights are described by classes of Megatron and torch, and newer releases have more of them.
        return (
            f"names {module}.{name}: expected what megatron-core {megatron.core.__version__} can read, found "
            "a description "
            "by another release, probably a newer one"
        )
    return f"names {module}.{name}, which no checkpoint of bionemo-scale needs; it was not opened"


def _first_line(error: BaseException) -> str:
    with contextlib.suppress(IndexError):
        return str(error).splitlines()[0]
    return type(error).__name__


def _refusal(folder: Path, text: str) -> InputError:
    return InputError(f"{folder.parent}: the weights cannot be read: {text}")
