"""Directions on latents whose statistics are known: SeFa, GANSpace, scores, and what is kept out of a direction."""

from __future__ import annotations

import pytest
import torch
from gan.control.directions import by_score, ganspace, principal, sefa, separated
from gan.errors import UsageError


def latents(count: int = 4000, size: int = 5) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_sefa_finds_the_first_singular_vector_of_a_linear_map():
    """Rows of length 1, as the paper scales them: the eigenvectors of AᵀA are the right singular vectors of A."""
    matrix = torch.randn(40, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    matrix[:, 2] *= 3
    rows = matrix / matrix.norm(dim=1, keepdim=True)
    _, values, vectors = torch.linalg.svd(rows, full_matrices=False)
    found, shares = sefa([matrix[:25], matrix[25:]], 8)
    assert abs(float(found[0] @ vectors[0])) > 0.9999
    assert torch.allclose(shares, values.square() / values.square().sum())
    assert (found.gather(1, found.abs().argmax(1, keepdim=True)) > 0).all()


def test_principal_components_have_the_order_and_share_of_their_variance():
    scaled = latents() * torch.tensor([1.0, 4.0, 2.0, 0.5, 0.25], dtype=torch.float64)
    vectors, shares = principal(scaled, 2)
    assert abs(float(vectors[0, 1])) > 0.999
    assert float(shares[0]) == pytest.approx(16 / 21.3125, abs=0.02)


def test_components_of_a_first_layer_are_mapped_back_to_latents():
    """Of white latents, the component of y = A z with the largest variance is moved by the first singular vector."""
    matrix = torch.randn(30, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    _, _, vectors = torch.linalg.svd(matrix, full_matrices=False)
    found, _ = ganspace(latents(20000), [matrix], 1)
    assert abs(float(found[0] @ vectors[0])) > 0.98


def test_the_direction_of_a_score_changes_it_by_its_effect():
    """s = 2 a + b with correlated a, b: the covariance direction is one deviation long, so the effect is std(s)."""
    z = latents()
    z[:, 1] += 0.5 * z[:, 0]
    score = 2 * z[:, 0] + z[:, 1]
    vector, effect, share = by_score(z, score)
    assert share > 0.999
    assert effect == pytest.approx(float(score.std()), rel=0.01)
    assert float(2 * vector[0] + vector[1]) == pytest.approx(effect, rel=0.01)
    with pytest.raises(UsageError, match="the same for all samples"):
        by_score(z, torch.ones(len(z)))


def test_what_is_kept_does_not_change_along_a_separated_direction():
    """Two scores that share a latent: the raw direction changes both, the separated one only its own."""
    z = latents()
    first, second = z[:, 0] + z[:, 1], z[:, 1] + z[:, 2]
    one, _, _ = by_score(z, first)
    other, _, _ = by_score(z, second)
    assert abs(float(one[1] + one[2])) > 0.5
    found = separated(z, one, [other])
    assert abs(float(found[1] + found[2])) < 0.03
    assert float(found[0] + found[1]) > 0.8
    assert float(((z @ torch.linalg.inv(torch.cov(z.T))) @ found).std()) == pytest.approx(1, abs=0.02)
    with pytest.raises(UsageError, match="nothing but what is to be kept"):
        separated(z, one, [one])
