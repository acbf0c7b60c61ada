"""Path length: great circles, closed forms, and what cannot be walked."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gan.contracts import Features, FieldSpec
from gan.errors import BadData, UsageError
from gan.latents import slerp
from gan.metrics.path_length import PathLength, path_lengths
from torch import nn

POINTS = SimpleNamespace(fields={"points": FieldSpec((2,), "float32", -4, 4, "position")})


class Walk(nn.Module):
    """Points are `gain` times their latents, or wave with them."""

    def __init__(self, gain=1.0, waves=0.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.waves = waves

    def latents(self, count, rng):
        return rng.randn(2)

    def decode(self, latents, request):
        return {"points": self.gain * latents + torch.sin(self.waves * latents)}


def as_they_are(samples, modality):
    return Features(samples["points"])


def compute(architecture, count=400, modality=POINTS):
    samples = {"points": np.zeros((count, 2), np.float32)}
    with torch.no_grad():
        (value,) = PathLength().compute(architecture, as_they_are, samples, samples, modality)
    return value


def test_a_great_circle_between_two_unit_vectors():
    """Half way between orthogonal unit vectors lies their sum over √2; a third of the way the angle is 30 degrees."""
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    for share, angle in ((0, 0), (1 / 3, math.pi / 6), (0.5, math.pi / 4), (1, math.pi / 2)):
        found = slerp(a, b, torch.tensor([share]))
        torch.testing.assert_close(found, torch.tensor([[math.cos(angle), math.sin(angle)]]), atol=1e-6, rtol=1e-6)


def test_lengths_lie_between_and_shapes_are_kept():
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(5, 3, 1, 1, generator=rng), 4 * torch.randn(5, 3, 1, 1, generator=rng)
    middle = slerp(a, b, torch.full((5,), 0.5))
    assert middle.shape == a.shape
    torch.testing.assert_close(middle.flatten(1).norm(dim=1), (a.flatten(1).norm(dim=1) + b.flatten(1).norm(dim=1)) / 2)
    torch.testing.assert_close(slerp(a, 3 * a, torch.full((5,), 0.25)), 1.5 * a)
    torch.testing.assert_close(slerp(torch.zeros_like(a), b, torch.full((5,), 0.25)), 0.25 * b)


def test_the_length_of_a_quarter_of_a_circle():
    """The identity walks an arc of π/2 with even speed: squared distance over epsilon² is (π/2)², anywhere."""
    a, b = torch.eye(2, dtype=torch.float64)[:1].repeat(3, 1), torch.eye(2, dtype=torch.float64)[1:].repeat(3, 1)
    at = torch.tensor([0.0, 0.4, 0.9], dtype=torch.float64)
    found = path_lengths(lambda latents: latents.numpy(), a, b, at, 1e-4)
    np.testing.assert_allclose(found, (math.pi / 2) ** 2, rtol=1e-6)


def test_a_gain_counts_squared_and_waves_make_it_rougher():
    """The same paths at twice the gain are four times as long; epsilon is near enough to 0 for float32."""
    plain, doubled = compute(Walk()), compute(Walk(gain=2.0))
    assert doubled.value == pytest.approx(4 * plain.value, rel=0.02)
    assert plain.name == "PPL"
    assert 0 < plain.error < plain.value
    assert compute(Walk(waves=20.0)).value > 20 * plain.value
    assert compute(Walk()).value == plain.value


def test_what_has_no_smooth_latent_space_is_refused():
    rounded = SimpleNamespace(fields={"points": FieldSpec((2,), "uint8", 0, 255, "intensity")})
    with pytest.raises(UsageError, match="rounds its 'points'"):
        compute(Walk(), modality=rounded)
    smooth = Walk()
    smooth.decode_smooth = smooth.decode
    assert compute(smooth, modality=rounded).value == compute(Walk()).value
    with pytest.raises(UsageError, match="no latent space"):
        compute(nn.Linear(1, 1))
    with pytest.raises(BadData, match="99 paths"):
        compute(Walk(), count=99)


class Told(Walk):
    """Points are as many times their latents as the condition `size` says."""

    def given_fields(self, options=None):
        return ("size",)

    def decode(self, latents, request):
        return {"points": request.given["size"][:, None] * latents}


def test_both_ends_of_a_path_have_the_conditions_of_a_real_sample():
    """All real samples have size 2: the paths are four times as long as without a condition. An input is refused."""
    spec = {"size": FieldSpec((), "float32", 0, 4, "factor", condition=True)}
    modality = SimpleNamespace(fields={**POINTS.fields, **spec})
    samples = {"points": np.zeros((400, 2), np.float32), "size": np.full(400, 2, np.float32)}
    with torch.no_grad():
        (value,) = PathLength().compute(Told(), as_they_are, samples, samples, modality)
        assert value.value == pytest.approx(4 * compute(Walk()).value, rel=0.02)
        plain = SimpleNamespace(fields={**POINTS.fields, "size": FieldSpec((), "float32", 0, 4, "factor")})
        with pytest.raises(UsageError, match="input"):
            PathLength().compute(Told(), as_they_are, samples, samples, plain)
