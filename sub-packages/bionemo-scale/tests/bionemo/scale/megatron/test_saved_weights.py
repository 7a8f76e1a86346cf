# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""No file of a weights folder runs code: each case would make a file if it were unpickled."""

import dataclasses
import io
import json
import pickle
import shutil

import pytest
import torch
from megatron.core import dist_checkpointing
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import BytesStorageMetadata

from bionemo.scale.megatron.saved_weights import check_weights
from bionemo.scale.model.checkpoint import load_network
from bionemo.scale.types import InputError


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


@pytest.fixture(scope="module")
def whole(make_model, tmp_path_factory):
    """A checkpoint's weights, with objects that are no tensors beside them."""
    folder = tmp_path_factory.mktemp("whole") / "weights"
    folder.mkdir()
    model = make_model(pipeline_dtype=torch.float32)
    dist_checkpointing.save({**model.sharded_state_dict("module."), "step": 3}, str(folder))
    return model.config, folder


def read_metadata(folder):
    return pickle.loads((folder / ".metadata").read_bytes())


def write_metadata(folder, metadata):
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def add_object(folder, data, *, name=None):
    """Put bytes at the end of a file and describe them as an object: a new one, or what was a tensor."""
    metadata = read_metadata(folder)
    file = next(iter(sorted(folder.glob("*.distcp"))))
    place = _StorageInfo(relative_path=file.name, offset=file.stat().st_size, length=len(data))
    with file.open("ab") as stream:
        stream.write(data)
    index = next(index for index in metadata.storage_data if name is None or index.fqn == name)
    if name is None:
        index = dataclasses.replace(index, fqn="module.more._extra_state/shard_0_1", offset=None, index=None)
    metadata.state_dict_metadata[index.fqn] = BytesStorageMetadata()
    metadata.storage_data[index] = place
    write_metadata(folder, metadata)


def in_metadata(folder, payload):
    write_metadata(folder, payload)


def deep_in_metadata(folder, payload):
    metadata = read_metadata(folder)
    metadata.planner_data = {"a": [payload]}
    write_metadata(folder, metadata)


def in_common(folder, payload):
    torch.save({"step": payload}, folder / "common.pt")


def in_old_common(folder, payload):
    torch.save(payload, folder / "common.pt", _use_new_zipfile_serialization=False)


def in_an_object(folder, payload):
    add_object(folder, saved(payload))


def in_the_place_of_a_tensor(folder, payload):
    tensor = next(
        name for name, entry in read_metadata(folder).state_dict_metadata.items() if hasattr(entry, "chunks")
    )
    add_object(folder, saved(payload), name=tensor)


def in_scales(folder, payload):
    add_object(folder, saved(torch.frombuffer(bytearray(pickle.dumps(payload)), dtype=torch.uint8)))


def in_scales_twice(folder, payload):
    tensor = type("Nested", (), {"__reduce__": lambda self: (torch.storage._load_from_bytes, (saved(payload),))})()
    add_object(folder, saved(torch.frombuffer(bytearray(pickle.dumps(tensor)), dtype=torch.uint8)))


def in_another_folder(folder, payload):
    (folder / "modelopt_state").mkdir()
    torch.save(payload, folder / "modelopt_state" / "common.pt")


def in_another_file(folder, payload):
    torch.save(payload, folder / "module.more.pt")


PLANTS = [
    in_metadata, deep_in_metadata, in_common, in_old_common, in_an_object, in_the_place_of_a_tensor, in_scales,
    in_scales_twice, in_another_folder, in_another_file,
]  # fmt: skip


@pytest.fixture
def copy(whole, tmp_path):
    shutil.copytree(whole[1], tmp_path / "checkpoint" / "weights")
    return whole[0], tmp_path / "checkpoint"


def refusal(config, checkpoint):
    with pytest.raises(InputError, match="the weights cannot be read: ") as error:
        load_network(config, checkpoint)
    assert str(error.value).startswith(f"{checkpoint}: ") and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("plant", PLANTS)
def test_nothing_runs(plant, copy, tmp_path):
    config, checkpoint = copy
    plant(checkpoint / "weights", Payload(tmp_path / "marker"))
    refusal(config, checkpoint)
    assert not (tmp_path / "marker").exists()


def test_the_payload_would_run(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


def test_whole_weights_are_read(whole):
    config, folder = whole
    check_weights(folder)
    assert load_network(config, folder.parent) is not None


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8c\x05torch\x8c\x17serialization.os.system\x93.",
        b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.",
        b"\x80\x02r\xff\xff\xff\x7f}.",
        b"\x80\x04}.",
        b"\x80\x04",
        b"",
        b"\x00" * 40,
    ],
)
def test_other_descriptions_are_refused(data, copy):
    (copy[1] / "weights" / ".metadata").write_bytes(data)
    assert ".metadata" in refusal(*copy)


@pytest.mark.parametrize("path", ["../outside.distcp", "/etc/hostname", "missing.distcp"])
def test_tensors_of_other_folders_are_refused(path, copy):
    config, checkpoint = copy
    (checkpoint / "outside.distcp").write_bytes(bytes(10**6))
    metadata = read_metadata(checkpoint / "weights")
    index, place = next(iter(metadata.storage_data.items()))
    metadata.storage_data[index] = dataclasses.replace(place, relative_path=path)
    write_metadata(checkpoint / "weights", metadata)
    assert f"in a file of this folder, found {path!r}" in refusal(config, checkpoint)


def test_weights_that_are_cut_off_are_refused(copy):
    config, checkpoint = copy
    file = next((checkpoint / "weights").glob("*.distcp"))
    file.write_bytes(file.read_bytes()[:1000])
    assert "is shorter than .metadata says" in refusal(config, checkpoint)


@pytest.mark.parametrize("fields", [{"sharded_backend": "zarr"}, {"common_backend": "pickle"}, [], None])
def test_other_formats_are_refused(fields, copy):
    config, checkpoint = copy
    file = checkpoint / "weights" / "metadata.json"
    before = json.loads(file.read_text())
    file.write_text(json.dumps({**before, **fields} if isinstance(fields, dict) else fields))
    assert "metadata.json" in refusal(config, checkpoint)
