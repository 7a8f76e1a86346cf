# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A URL passes for a path, is refused in one line where it cannot be one, and has an identity of its own."""

import os
import pickle
import re
import sys
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from bionemo.scale.data.folds.split_settings import SplitSettings
from bionemo.scale.eval.settings import ReportSettings
from bionemo.scale.files.provenance import hash_file, size_of, version_stamp
from bionemo.scale.files.url import Url, is_url, path_or_url
from bionemo.scale.options.arguments import arguments
from bionemo.scale.options.outputs import check_not_inputs
from bionemo.scale.run import split
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


@pytest.mark.parametrize("text", ["https://[bad/x.h5ad", "s3://me:secret@[bad/x.h5ad?signature=secret", "http://a]/x"])
def test_a_url_without_a_host_that_can_be_read_is_refused(text, capsys):
    line = f"{text.replace('me:secret@', '').partition('?')[0]}: expected a URL, found one whose host cannot be read"
    with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
        path_or_url(text)
    assert split.main([text, "--out", "split.toml"]) == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_a_url_is_one_line_of_text():
    with pytest.raises(InputError, match="must be one line of text in UTF-8, found 's3://b/a"):
        SplitSettings.make(inputs=("s3://b/a\n.h5ad",), out="split.toml", hold_out="random")


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
    fsspec.filesystem("memory").pipe("/a.zarr/.zgroup", b'{"zarr_format": 2}')
    assert hash_file(folder) != changed


class Strict(MemoryFileSystem):
    """Takes no option to list anew, as those of fsspec for SFTP and WebHDFS."""

    protocol = "strict"
    listed: ClassVar[dict] = {}

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("strict://", "memory://"))

    def ls(self, path, detail=True):
        if path not in self.listed:
            self.listed[path] = super().ls(path, detail=True)
        return self.listed[path] if detail else [info["name"] for info in self.listed[path]]

    def invalidate_cache(self, path=None):
        self.listed.clear()


def test_the_identity_follows_files_that_were_listed_before(folder):
    fsspec.register_implementation("strict", Strict, clobber=True)
    url = Url("strict://a.zarr")
    before = hash_file(url)
    assert Strict.listed and url.listed().keys() == {".zgroup", "X/0"}
    fsspec.filesystem("memory").pipe("/a.zarr/X/1", b"56")
    assert url.listed().keys() == {".zgroup", "X/0", "X/1"} and hash_file(url) != before


class HttpError(Exception):
    """As gcsfs says what it has no exception of Python for."""

    def __init__(self, code):
        super().__init__(f"Anonymous caller, {code}")
        self.code = code


@pytest.mark.parametrize(
    "denial",
    [PermissionError("Access Denied"), OSError("Forbidden: b/a.zarr\nno list"), HttpError(401), HttpError("403")],
)
def test_a_bucket_that_may_not_be_listed_denies_what_is_not_there(folder, denial, monkeypatch):
    whole = MemoryFileSystem.cat_file

    def denied(self, path, **named):
        if path.endswith(("/.zmetadata", "/zarr.json", "/X/0/.zgroup")):
            raise denial
        return whole(self, path, **named)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", denied)
    assert folder.is_dir() and not (folder / "X/0").is_dir() and (folder / "X/0").is_file()
    assert len(hash_file(folder / "X/0")) == len(hash_file(folder)) == 64


def test_a_server_that_fails_is_not_taken_for_one_without_the_store(folder, monkeypatch):
    def failing(*_, **__):
        raise HttpError(503)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", failing)
    with pytest.raises(InputError, match="^memory://a.zarr: cannot be read: Anonymous caller, 503$"):
        folder.is_dir()


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"nonsense", ".zgroup must be JSON: Expecting value"), (b"[]", ".zgroup must be a JSON object, found list")],
)
def test_metadata_that_is_damaged_is_refused(folder, content, line):
    fsspec.filesystem("memory").pipe("/a.zarr/.zgroup", content)
    with pytest.raises(InputError, match=f"^memory://a.zarr: {line}"):
        folder.is_dir()


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


def test_fsspec_itself_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InputError, match=r"^s3://b/a: import of fsspec halted.*; pip install '.*\[remote\]'"):
        Url("s3://b/a").exists()


def test_a_small_installation_says_what_urls_need(tmp_path, light_command):
    url = "https://host/screen.h5ad"
    for command, out in (("prepare", "store"), ("split", "a.toml"), ("report", "a.html"), ("rank", "a.csv")):
        options = ["--by", "effect"] if command == "rank" else []
        refused = light_command(command, url, *options, "--out", tmp_path / out, code=2)
        line, hint = refused.split("; ")
        assert line == f"error: {url}: No module named 'aiohttp'"
        assert hint == "pip install 'bionemo-scale[remote]' has what the usual URLs need\n"
