# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from bionemo.scale.flow.path import sample_path, sample_times


@pytest.fixture
def ends() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 5, 4, generator=generator), torch.randn(3, 5, 4, generator=generator)


def test_path_begins_at_the_start_and_ends_at_the_target(ends):
    start, target = ends
    assert torch.equal(sample_path(start=start, target=target, t=torch.zeros(3)).z_t, start)
    assert torch.equal(sample_path(start=start, target=target, t=torch.ones(3)).z_t, target)


def test_every_set_has_its_own_time(ends):
    start, target = ends
    t = torch.tensor([0.0, 0.25, 1.0])
    sample = sample_path(start=start, target=target, t=t)
    assert torch.equal(sample.t, t)
    for i, time in enumerate(t):
        torch.testing.assert_close(sample.z_t[i], start[i] + time * (target[i] - start[i]))


def test_path_keeps_the_precision_of_its_ends(ends):
    start, target = (end.bfloat16() for end in ends)
    assert sample_path(start=start, target=target, t=torch.rand(3)).z_t.dtype == torch.bfloat16


def test_times_are_a_function_of_the_seeds():
    seeds = torch.tensor([11, 5, 8])
    assert torch.equal(sample_times(seeds), sample_times(seeds))


def test_a_set_has_the_same_time_in_any_batch():
    seeds = torch.tensor([11, 5, 8, 2**40 + 3])
    t = sample_times(seeds)
    assert torch.equal(sample_times(seeds.flip(0)), t.flip(0))
    assert torch.equal(sample_times(seeds[2:3]), t[2:3])


def test_times_of_consecutive_seeds_are_uniform_and_unrelated():
    t = sample_times(torch.arange(4000))
    assert t.dtype == torch.float32 and t.min() >= 0 and t.max() < 1
    counts = torch.histc(t, bins=10, min=0, max=1)
    # 400 expected in each bin, standard deviation 19.
    assert (counts - 400).abs().max() < 5 * 19
    assert torch.corrcoef(torch.stack([t[:-1], t[1:]]))[0, 1].abs() < 0.06


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_sets_starts_at_the_start(share):
    seeds = torch.arange(2000)
    uniform, times = sample_times(seeds), sample_times(seeds, start_share=share)
    at_start = times == 0
    assert at_start.float().mean().item() == pytest.approx(share, abs=0.03)
    assert torch.equal(times[~at_start], uniform[~at_start])
