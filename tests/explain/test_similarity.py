"""Similarity of heat maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from pneumonia.explain.randomisation import even, rank_correlation, structural_similarity


def some_maps(seed: int, count: int = 4, side: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).random((count, side, side)).astype(np.float32)


@given(st.integers(0, 2**31))
def test_rank_correlation_is_spearmans(seed: int) -> None:
    ours, theirs = some_maps(seed), some_maps(seed + 1).round(1)
    expected = [spearmanr(one.ravel(), other.ravel()).statistic
                for one, other in zip(ours, theirs, strict=True)]  # fmt: skip
    assert rank_correlation(ours, theirs) == pytest.approx(expected)


def test_only_the_order_counts() -> None:
    maps = some_maps(0)
    assert rank_correlation(maps, maps**3) == pytest.approx(1)
    assert rank_correlation(maps, -maps) == pytest.approx(-1)


def test_an_even_map_is_like_no_other() -> None:
    maps, flat = some_maps(0), np.ones((4, 7, 7), np.float32)
    assert rank_correlation(flat, maps) == pytest.approx(0)
    assert rank_correlation(maps, flat) == pytest.approx(0)


@pytest.mark.parametrize("noise", [0, 1e-7, 1e-4])
def test_maps_that_are_even_but_for_little_are_known(noise: float) -> None:
    assert even(0.4 + noise * some_maps(0)).all()
    assert even(np.zeros((2, 3, 3), np.float32)).all()
    assert not even(some_maps(0)).any()


def test_maps_of_other_grids_are_compared_on_the_finer_one() -> None:
    fine = np.kron(some_maps(0), np.ones((2, 2), np.float32))
    assert rank_correlation(some_maps(0), fine).min() > 0.7
    assert rank_correlation(fine, some_maps(0)) == pytest.approx(
        rank_correlation(some_maps(0), fine)
    )
    assert abs(rank_correlation(some_maps(1), fine)).max() < 0.5


def test_structure_is_seen_without_scale() -> None:
    maps = some_maps(3)
    assert structural_similarity(maps, 5 * maps) == pytest.approx(1, abs=1e-4)
    assert structural_similarity(maps, some_maps(4)).max() < 0.6
    assert structural_similarity(maps, np.zeros_like(maps)).max() < 0.1
