# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import logging
import warnings

import pytest

from bionemo.scale.files.quiet import quiet_libraries


def warn() -> None:
    warnings.warn("a kernel is missing", FutureWarning, stacklevel=1)
    logging.getLogger("a library").warning("end of life")


def test_warnings_are_held_back_and_come_again(caplog):
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with quiet_libraries():
            warn()
        assert shown == [] and caplog.messages == []
        warn()
    assert len(shown) == 1 and caplog.messages == ["end of life"]


def test_errors_are_raised(caplog):
    with pytest.raises(ValueError, match="damaged"), quiet_libraries():
        raise ValueError("damaged")
    logging.getLogger("a library").warning("heard")
    assert caplog.messages == ["heard"]
