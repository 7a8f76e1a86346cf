# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from bionemo.scale.eval.settings import EvaluateSettings
from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.types import FileLabels, InputError, ObsKeys


def parse(*options: str) -> EvaluateSettings:
    words = ["--pred", "a", "--pred", "b", "--real", "r", "--out", "o", *options]
    return make_settings(EvaluateSettings, OptionParser(EvaluateSettings, prog="", description="").parse_args(words))


def test_nothing_given_leaves_all_to_the_files():
    assert parse().labels is None and parse().pred_labels == (None, None)


def test_options_of_all_files():
    args = parse("--control", "DMSO", "--cell-type-key", "line", "--target-sum", "1e4")
    expected = FileLabels(keys=ObsKeys(cell_type="line"), control="DMSO", target_sum=1e4)
    assert args.labels == expected and args.pred_labels == (expected, expected)


def test_predictions_that_differ_once_for_all_or_once_for_each():
    args = parse("--control", "DMSO", "--pred-control", "ctrl", "--pred-batch-key", "gem", "--pred-batch-key", "batch")
    assert args.labels == FileLabels(control="DMSO")
    assert args.pred_labels == (
        FileLabels(keys=ObsKeys(batch="gem"), control="ctrl"),
        FileLabels(control="ctrl"),
    )


def test_refusals():
    three = [part for value in "xyz" for part in ("--pred-control", value)]
    with pytest.raises(
        InputError, match=r"--pred-control: expected one for all --pred or one for each \(2\), found 3"
    ):
        parse(*three)
    for value in ("0", "-1", "nan", "inf"):
        with pytest.raises(InputError, match="-target-sum must be at least 1"):
            parse("--target-sum", value)
        with pytest.raises(InputError, match="-target-sum must be at least 1"):
            parse("--pred-target-sum", value)
