# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The order of test files: what takes long begins first, so that the workers end together."""

from collections.abc import Sequence

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files by :func:`length`; tests of a file stay in their order."""
    files: dict[object, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    items[:] = [item for tests in sorted(files.values(), key=length, reverse=True) for item in tests]


def length(tests: Sequence[pytest.Item]) -> tuple[float, int, int]:
    """Return what is known of the time that a file takes: its longest limit, its slow tests, its tests."""
    limits = [mark.args[0] for test in tests for mark in test.iter_markers("timeout")]
    slow = sum(test.get_closest_marker("slow") is not None for test in tests)
    return max(limits, default=0.0), slow, len(tests)
