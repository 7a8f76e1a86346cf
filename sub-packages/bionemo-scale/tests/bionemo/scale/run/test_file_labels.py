# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import argparse
from pathlib import Path

import pytest

from bionemo.scale.run.file_labels import add_label_options, labels_of_predictions, labels_of_real
from bionemo.scale.types import FileLabels, InputError, ObsKeys


def parse(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pred", type=Path, action="append", default=[])
    add_label_options(parser)
    return parser.parse_args(["--pred", "a", "--pred", "b", *options])


def test_nothing_given_leaves_all_to_the_files():
    assert labels_of_real(parse()) is None and labels_of_predictions(parse()) == [None, None]


def test_options_of_all_files():
    args = parse("--control", "DMSO", "--cell-type-key", "line", "--target-sum", "1e4")
    expected = FileLabels(keys=ObsKeys(cell_type="line"), control="DMSO", target_sum=1e4)
    assert labels_of_real(args) == expected and labels_of_predictions(args) == [expected] * 2


def test_predictions_that_differ_once_for_all_or_once_for_each():
    args = parse("--control", "DMSO", "--pred-control", "ctrl", "--pred-batch-key", "gem", "--pred-batch-key", "batch")
    assert labels_of_real(args) == FileLabels(control="DMSO")
    assert labels_of_predictions(args) == [
        FileLabels(keys=ObsKeys(batch="gem"), control="ctrl"),
        FileLabels(control="ctrl"),
    ]


def test_refusals():
    three = [part for value in "xyz" for part in ("--pred-control", value)]
    with pytest.raises(
        InputError, match=r"--pred-control: expected one for all --pred or one for each \(2\), found 3"
    ):
        labels_of_predictions(parse(*three))
    for value in ("0", "-1", "nan", "inf"):
        with pytest.raises(InputError, match="--target-sum: expected a library size above 0"):
            labels_of_real(parse("--target-sum", value))
        with pytest.raises(InputError, match="--target-sum: expected a library size above 0"):
            labels_of_predictions(parse("--pred-target-sum", value))
