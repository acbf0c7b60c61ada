"""Metrics of sets of pictures: what they are for equal, shifted, blurred and collapsed sets."""

from __future__ import annotations

import numpy as np
import pytest
from gan.errors import BadData
from gan_image.metrics.sets import (
    MultiScaleSSIM,
    SlicedWasserstein,
    enlarged,
    laplacian_pyramid,
    ms_ssim,
    patches,
    sliced_distance,
)
from scipy.ndimage import gaussian_filter


def textures(count, side=32, seed=0, channels=1):
    """Smooth random pictures, uint8."""
    noise = np.random.default_rng(seed).standard_normal((count, channels, side, side))
    smooth = gaussian_filter(noise, (0, 0, 2, 2), mode="wrap")
    return np.clip(127 + 250 * smooth, 0, 255).astype(np.uint8)


def swd(first, second):
    (value,) = SlicedWasserstein().compute({"image": first}, {"image": second}, None)
    return value


@pytest.mark.parametrize(("side", "sides"), [(16, [16]), (28, [28]), (32, [32, 16]), (64, [64, 32, 16]), (8, [8])])
def test_a_pyramid_adds_up_to_its_picture(side, sides):
    images = textures(3, side)
    levels = laplacian_pyramid(images)
    assert [level.shape[3] for level in levels] == sides
    whole = levels[-1]
    for level in reversed(levels[:-1]):
        whole = enlarged(whole) + level
    np.testing.assert_allclose(whole, images, atol=1e-3)


def test_a_flat_picture_has_no_detail():
    """The filter sums to 1 when it smooths and to 1 for each pixel when it enlarges, borders included."""
    detail, _ = laplacian_pyramid(np.full((1, 1, 32, 32), 200, np.uint8))
    assert np.abs(detail).max() < 1e-3


def test_patches_are_normalised_and_the_same_for_one_seed():
    rows = patches(textures(20, channels=3).astype(np.float32), 0)
    assert rows.shape == (20 * 128, 3 * 49)
    channels = rows.reshape(-1, 3, 49)
    np.testing.assert_allclose(channels.mean(axis=(0, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(channels.std(axis=(0, 2)), 1, atol=1e-4)
    np.testing.assert_array_equal(rows, patches(textures(20, channels=3).astype(np.float32), 0))


def test_the_distance_of_shifted_points():
    """Rows shifted by v: every projection on a unit direction u moves by u·v, and the mean of |u·v| over the sphere in
    three dimensions is |v| / 2. Equal sets: 0."""
    rows = np.random.default_rng(0).standard_normal((500, 3)).astype(np.float32)
    assert sliced_distance(rows, rows) == 0
    assert sliced_distance(rows, rows + np.float32([0, 0, 4])) == pytest.approx(2, rel=0.06)


def test_worse_pictures_are_further_away():
    """Blur takes fine detail and leaves shapes: the finest level more than doubles, the coarsest does not. Noise is
    further the more there is."""
    real, other = textures(40, 64, 1), textures(40, 64, 2)
    same = swd(other, real)
    blurred = swd(gaussian_filter(other, (0, 0, 1.5, 1.5)), real)
    assert same.details["64"] < blurred.details["64"] / 2
    assert same.details["16"] > blurred.details["16"] / 2
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(other.shape)
    found = [swd(np.clip(other + s * noise, 0, 255).astype(np.uint8), real).value for s in (0, 20, 60)]
    assert found[0] < found[1] < found[2]
    assert list(same.details) == ["64", "32", "16"]


def test_ms_ssim_of_equal_unrelated_and_inverted_pictures():
    first, second = textures(10, 64, 1), textures(10, 64, 2)
    np.testing.assert_allclose(ms_ssim(first, first), 1)
    assert ms_ssim(first, second).mean() < 0.3
    assert (ms_ssim(first, 255 - first) < 0.05).all()
    slightly = np.clip(first + 5.0 * np.random.default_rng(0).standard_normal(first.shape), 0, 255)
    assert (ms_ssim(first, slightly) < 1).all()
    assert ms_ssim(first, slightly).mean() > 0.9


def test_one_scale_is_ssim_by_hand():
    """Two flat pictures a and b have no structure: (2ab + c1) / (a² + b² + c1) with c1 = (0.01 · 255)²."""
    a, b, c1 = 100.0, 150.0, 2.55**2
    first, second = np.full((1, 1, 16, 16), a), np.full((1, 1, 16, 16), b)
    assert ms_ssim(first, second)[0] == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), rel=1e-9)


def test_collapse_is_told_by_ms_ssim():
    real = textures(40, 32, 3)
    collapsed = np.repeat(real[:2], 20, axis=0)
    (value,) = MultiScaleSSIM(pairs=200).compute({"image": collapsed}, {"image": real}, None)
    assert value.value > value.real + 4 * value.error > value.real
    (fresh,) = MultiScaleSSIM(pairs=200).compute({"image": textures(40, 32, 4)}, {"image": real}, None)
    assert abs(fresh.value - fresh.real) < 4 * fresh.error


def test_pictures_that_are_too_small_are_refused():
    with pytest.raises(BadData, match="patches of 7"):
        swd(textures(4, 6), textures(4, 6))
    with pytest.raises(BadData, match="window of 11"):
        ms_ssim(textures(4, 8), textures(4, 8))
