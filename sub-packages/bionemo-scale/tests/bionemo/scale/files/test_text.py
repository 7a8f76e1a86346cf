# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from bionemo.scale.files.text import is_line, read_json, read_text, read_toml, read_yaml
from bionemo.scale.types import InputError


@pytest.fixture
def file(tmp_path):
    def write(data: bytes):
        path = tmp_path / "a.txt"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CD4 T, naïve \u03b1\u03b2", True),
        ("\ufeffA", True),
        ("a\u200bb", True),
        ("a\tb", False),
        ("a\u2029b", False),
        ("a\u202eb", False),
        ("a\u2066b", False),
    ],
)
def test_a_name_is_one_line_that_reads_as_it_is(name, expected):
    assert is_line(name) == expected


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("naïve IFN-β\n".encode(), "naïve IFN-β\n"),
        (b"\xef\xbb\xbfa = 1\n", "a = 1\n"),
        (b"a\r\nb\rc\n", "a\nb\nc\n"),
        (b"", ""),
    ],
    ids=["beyond ASCII", "a byte order mark", "lines of other systems", "empty"],
)
def test_text_in_utf_8_is_read(data, text, file):
    assert read_text(file(data)) == text


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("a = 1".encode("utf-16"), "UTF-16"),
        ("a = 1".encode("utf-16-le"), "a zero byte at position 1"),
        ("a = 1".encode("utf-32"), "UTF-32"),
        ("a = 1\nb = 'naïve'".encode("latin-1"), "byte 0xef in line 2; save it as UTF-8"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ],
)
def test_other_encodings_are_named(data, found, file):
    path = file(data)
    with pytest.raises(InputError) as error:
        read_text(path)
    assert str(error.value) == f"{path}: expected text in UTF-8, found {found}"


@pytest.mark.parametrize("name", ["none.txt", "."])
def test_what_cannot_be_read_is_refused(name, tmp_path):
    with pytest.raises(InputError, match=rf"^{tmp_path / name}: cannot be read: (No such file|Is a directory)"):
        read_text(tmp_path / name)


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (read_toml, "a = 'β'", {"a": "β"}),
        (read_json, '["β"]', ["β"]),
        (read_yaml, "a: β", {"a": "β"}),
        (read_yaml, "", {}),
    ],
)
def test_values_are_read(read, text, value, file):
    assert read(file(text.encode())) == value


@pytest.mark.parametrize(
    ("read", "text", "found"),
    [
        (read_toml, "a =", "expected TOML, found Invalid value"),
        (read_toml, f"a = {'9' * 5000}", "expected TOML, found Exceeds the limit"),
        (read_toml, f"a = {'[' * 5000}{']' * 5000}", "expected TOML, found "),
        (read_json, "{", "expected JSON, found Expecting"),
        (read_json, "[" * 100_000, "expected JSON, found values too deep within one another"),
        (read_yaml, "a: [", "expected YAML, found while parsing"),
        (read_yaml, "- a", "expected keys and values, found a list"),
    ],
)
def test_what_is_no_such_format_is_refused(read, text, found, file):
    path = file(text.encode())
    with pytest.raises(InputError, match=f"^{path}: {found}") as error:
        read(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_yaml_makes_no_objects(file, tmp_path):
    path = file(f"a: !!python/object/apply:os.system ['touch {tmp_path}/marker']".encode())
    with pytest.raises(InputError, match="expected YAML, found could not determine a constructor"):
        read_yaml(path)
    assert not (tmp_path / "marker").exists()
