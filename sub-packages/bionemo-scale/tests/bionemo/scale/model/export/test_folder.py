# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from bionemo.scale.model.export.folder import (
    check_export,
    is_export,
    read_network,
    read_training,
    weight_files,
    write_config,
)
from bionemo.scale.types import InputError


NETWORK = {"hidden_size": 32, "prior": "control", "additive_share": 0.4}


@pytest.fixture
def export(tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    for name in ("model.safetensors", "data_card.json", "estimate.npz", "README.md"):
        (folder / name).write_text(name)
    write_config(folder, NETWORK, {"size": "tiny", "set_size": 16})
    return folder


def edit(export, **fields):
    path = export / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_what_was_written_is_found(export):
    assert is_export(export) and check_export(export) == export
    assert read_network(export) == NETWORK
    assert read_training(export) == {"size": "tiny", "set_size": 16}
    assert weight_files(export) == [export / "model.safetensors"]
    assert not is_export(export.parent)


def test_the_page_for_people_may_change(export):
    (export / "README.md").write_text("better")
    (export / ".gitattributes").write_text("*.safetensors filter=lfs")
    (export / "figure.png").write_text("a figure")
    check_export(export)


@pytest.mark.parametrize("name", ["model.safetensors", "data_card.json", "estimate.npz"])
def test_a_changed_file_is_refused(export, name):
    (export / name).write_text("other")
    with pytest.raises(InputError, match=rf"{name}: damaged or changed: expected the sha256 \w+\.\.\. of config.json"):
        check_export(export)


@pytest.mark.parametrize("name", ["model.safetensors", "data_card.json", "config.json"])
def test_a_missing_file_is_refused(export, name):
    (export / name).unlink()
    assert is_export(export)
    with pytest.raises(InputError, match=f"not a whole export: expected the file {name}, found none"):
        check_export(export)


def test_a_file_that_is_slipped_in_is_refused(export):
    (export / "network_weight.json").write_text("{}")
    with pytest.raises(InputError, match="files that config.json lists, found network_weight.json beside them"):
        check_export(export)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"format": 2}, "expected model_type 'bionemo-scale' in format 1, found 'bionemo-scale' in format 2"),
        ({"model_type": "bert"}, "found 'bert'"),
        ({"network": {**NETWORK, "hidden_size": 64}}, "the network's fields are not those that were written"),
        ({"network": []}, "network must be"),
        ({"training": None}, "training must be"),
        ({"files": {"data_card.json": "0"}}, "expected model.safetensors among the files, found data_card.json"),
        ({"files": {}}, "expected data_card.json among the files, found none"),
        ({"files": {"data_card.json": 1}}, "files/data_card.json must be str"),
    ],
)
def test_a_configuration_of_something_else_is_refused(export, fields, said):
    edit(export, **fields)
    with pytest.raises(InputError, match="config.json: cannot be read as the configuration of an export") as error:
        check_export(export)
    assert said in str(error.value)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd"])
def test_no_file_of_another_folder_is_opened(export, name):
    files = json.loads((export / "config.json").read_text())["files"]
    edit(export, files={name: "0", **files})
    with pytest.raises(InputError, match="expected files of this folder, found"):
        check_export(export)


@pytest.mark.parametrize("training", [{"set_size": "16"}, {"size": 3}])
def test_settings_of_another_type_are_refused(export, training):
    edit(export, training=training)
    with pytest.raises(InputError, match="expected a text as size and a number as set_size, found"):
        read_training(export)


def test_a_configuration_that_is_no_json_is_refused(export):
    (export / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config.json: expected JSON"):
        check_export(export)
