# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Damages any file as disks, networks and transfers do, without knowing what is in it."""

import random
from pathlib import Path


def damage_bytes(path: Path, rng: random.Random) -> str:
    """Change a file at random and say how."""
    data = bytearray(path.read_bytes())
    how = rng.choice(_WAYS)
    said = how(data, rng)
    path.unlink()
    path.write_bytes(data)
    return said


def damage_below(folder: Path, rng: random.Random, pattern: str = "*") -> str:
    """Change, delete or exchange one file of a folder at random."""
    files = sorted(path for path in folder.rglob(pattern) if path.is_file())
    chosen = rng.choice(files)
    where = str(chosen.relative_to(folder))
    if rng.random() < 0.75:
        return f"{where}: {damage_bytes(chosen, rng)}"
    how = rng.choice(("deleted", "made a folder", "exchanged", "made a link to itself"))
    other = rng.choice(files).read_bytes()
    chosen.unlink()
    if how == "made a folder":
        chosen.mkdir()
    elif how == "exchanged":
        chosen.write_bytes(other)
    elif how == "made a link to itself":
        chosen.symlink_to(chosen.name)
    return f"{where}: {how}"


def _flip_bits(data: bytearray, rng: random.Random) -> str:
    places = [rng.randrange(len(data)) for _ in range(rng.choice((1, 1, 4, 64)))] if data else []
    for place in places:
        data[place] ^= 1 << rng.randrange(8)
    return f"bits flipped at {places[:4]}"


def _cut_off(data: bytearray, rng: random.Random) -> str:
    length = rng.choice((0, 1, len(data) // 2, max(len(data) - 1, 0), rng.randrange(len(data) + 1)))
    del data[length:]
    return f"cut off after {length} bytes"


def _overwrite(data: bytearray, rng: random.Random) -> str:
    first = rng.randrange(len(data) + 1)
    last = min(len(data), first + rng.choice((8, 64, 512, 4096)))
    zeros = rng.random() < 0.5
    data[first:last] = bytes(last - first) if zeros else rng.randbytes(last - first)
    return f"bytes {first} to {last} {'zeroed' if zeros else 'random'}"


def _move(data: bytearray, rng: random.Random) -> str:
    first, length = rng.randrange(len(data) + 1), rng.choice((1, 7, 512))
    if rng.random() < 0.5:
        data[first:first] = rng.randbytes(length)
        return f"{length} bytes put in at {first}"
    del data[first : first + length]
    return f"{length} bytes taken out at {first}"


def _append(data: bytearray, rng: random.Random) -> str:
    length = rng.choice((1, 4096))
    data += rng.randbytes(length)
    return f"{length} bytes added"


def _other(data: bytearray, rng: random.Random) -> str:
    data[:] = (
        rng.choice((b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x1f\x8b\x08", b"\xff\xfe", b"\0", b"BSCB")) + data[8:]
    )
    return "begins like another format"


_WAYS = (_flip_bits, _flip_bits, _flip_bits, _cut_off, _overwrite, _overwrite, _move, _append, _other)
