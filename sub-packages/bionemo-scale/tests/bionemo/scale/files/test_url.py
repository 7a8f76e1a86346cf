# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A URL passes for a path, is refused in one line where it cannot be one, and has an identity of its own."""

import os
import pickle
from pathlib import Path

import fsspec
import pytest

from bionemo.scale.data.folds.split_settings import SplitSettings
from bionemo.scale.eval.settings import ReportSettings
from bionemo.scale.files.provenance import hash_file, size_of, version_stamp
from bionemo.scale.files.url import Url, is_url, path_or_url
from bionemo.scale.options.arguments import arguments
from bionemo.scale.options.outputs import check_not_inputs
from bionemo.scale.types import InputError


@pytest.fixture
def folder():
    """A folder of fsspec's memory; it goes away."""
    files = fsspec.filesystem("memory")
    files.pipe({"/a.zarr/.zgroup": b"{}", "/a.zarr/X/0": b"1234"})
    yield Url("memory://a.zarr")
    files.rm("/a.zarr", recursive=True)


def test_a_url_keeps_its_text_and_is_a_path_by_name():
    url = path_or_url("https://host/folder//screen.zarr/")
    assert isinstance(url, Url) and isinstance(url, Path)
    assert str(url) == "https://host/folder//screen.zarr"
    assert (url.name, url.stem, url.scheme) == ("screen.zarr", "screen", "https")
    assert url.resolve() == url == pickle.loads(pickle.dumps(url)) != Path("https://host/folder/screen.zarr")
    assert str(url / "X") == "https://host/folder//screen.zarr/X"


@pytest.mark.parametrize("text", ["a.h5ad", "/a/b.zarr", "folder:/a", "C:a", ":/a"])
def test_what_has_no_scheme_is_a_path(text):
    assert path_or_url(text) == Path(text) and not is_url(text)


def test_a_file_url_is_a_path():
    assert path_or_url("file:///a/b%20c.zarr") == Path("/a/b c.zarr")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("zip::https://host/a.zip", "zip::https://host/a.zip: expected a URL of one scheme, found several"),
        ("https://me:secret@host/a.zarr", "https://host/a.zarr: expected a URL without user and password"),
        ("https://host/a.h5ad?signature=secret", r"https://host/a.h5ad: expected a URL without \? and #"),
    ],
)
def test_what_results_must_not_record_is_refused_without_showing_it(text, line):
    with pytest.raises(InputError, match=f"^{line}") as refused:
        path_or_url(text)
    assert "secret" not in str(refused.value)


def test_a_url_is_never_taken_for_a_file_of_this_machine():
    with pytest.raises(InputError, match="expected a path on this machine, found the URL s3://bucket/a"):
        os.fspath(Url("s3://bucket/a"))


def test_options_say_which_of_them_take_a_url():
    settings = SplitSettings.make(inputs=("s3://bucket/a.zarr", "b.h5ad"), out="split.toml", hold_out="random")
    assert settings.inputs == (Url("s3://bucket/a.zarr"), Path("b.h5ad"))
    assert arguments(settings)[:2] == ["s3://bucket/a.zarr", "b.h5ad"]
    assert settings.as_dict()["inputs"][0] == "s3://bucket/a.zarr"
    with pytest.raises(InputError, match="^--out must be a path on this machine, found 's3://bucket/split.toml'"):
        SplitSettings.make(inputs=("b.h5ad",), out="s3://bucket/split.toml")
    with pytest.raises(InputError, match="^--out must say where the page goes"):
        ReportSettings.make(run="s3://bucket/pred.h5ad")


def test_nothing_is_written_to_a_url_so_that_none_is_asked_for_its_files():
    check_not_inputs([Path("out")], [Url("nothing://a.zarr")])


def test_the_identity_follows_the_files(folder):
    before, size = hash_file(folder), size_of(folder)
    assert (hash_file(folder), version_stamp(folder), size) == (before, (before,), 6)
    fsspec.filesystem("memory").pipe("/a.zarr/X/1", b"56")
    assert hash_file(folder) != before and size_of(folder) == 8
    changed = hash_file(folder)
    fsspec.filesystem("memory").pipe("/a.zarr/.zgroup", b"[]")
    assert hash_file(folder) != changed


def test_what_is_there_is_told_apart(folder):
    assert folder.exists() and folder.is_dir()
    assert (folder / "X/0").is_file() and not (folder / "X/0").is_dir()
    assert not Url("memory://none.zarr").exists()


def test_a_scheme_that_nobody_knows_is_refused():
    with pytest.raises(InputError, match="^nothing://a.zarr: cannot be read: Protocol not known: nothing"):
        Url("nothing://a.zarr").exists()


def test_a_package_that_is_missing_is_named(monkeypatch):
    def missing(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(InputError, match=r"^s3://b/a: Install s3fs to access S3; pip install '.*\[remote\]'"):
        Url("s3://b/a").exists()
