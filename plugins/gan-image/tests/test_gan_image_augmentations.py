"""ADA, DiffAugment and affine changes: identity, exact cases, formulas, gradients, rows that do not mix."""

from __future__ import annotations

import math

import pytest
import torch
from gan.draws import Draws, SeededDraws, StepDraws
from gan_image.augmentations import ada, diffaugment
from gan_image.augmentations.affine import Affine

CPU = torch.device("cpu")


def rows(count: int, seed: int = 0) -> Draws:
    return SeededDraws.of(seed, 0, count, CPU)


def p(value: float) -> torch.Tensor:
    return torch.tensor(value)


def smooth_images(count: int, channels: int, side: int) -> torch.Tensor:
    """Without fine detail, so that resampling changes them little."""
    torch.manual_seed(0)
    small = torch.randn(count, channels, 4, 4)
    return torch.nn.functional.interpolate(small, size=(side, side), mode="bicubic", align_corners=True).clamp(-1, 1)


ALL = {"noise": 1.0, "cutout": 1.0}


# ----------------------------------------------------------------------------------------------------------------- ADA


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_ada_with_probability_0_is_the_identity(channels: int):
    images = torch.rand(5, channels, 16, 16) * 2 - 1
    assert torch.equal(ada.augmented(images, p(0.0), rows(5), **ALL), images)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_ada_changes_images_as_often_as_p_says(channels: int):
    images = smooth_images(1, channels, 16).expand(200, -1, -1, -1)
    changed = (ada.augmented(images, p(0.2), rows(200), geometry=0, colour=0, blit=0, cutout=1) != images).flatten(1)
    assert abs(changed.any(1).float().mean().item() - 0.2) < 0.07
    assert (ada.augmented(images, p(1.0), rows(200), **ALL) != images).flatten(1).any(1).all()
    if channels == 4:
        colour_only = ada.augmented(images, p(1.0), rows(200), blit=0, geometry=0)
        assert torch.equal(colour_only[:, 3], images[:, 3])


def test_enlarging_and_reducing_by_the_wavelet_is_the_identity():
    """Even for noise, as the filter is orthogonal; tested with a matrix that is not exactly the identity. Borders are
    left out: mirrored by an asymmetric filter they differ."""
    assert abs(sum(t * t for t in ada.SYM6) - 1) < 1e-8
    assert abs(sum(ada.SYM6) - math.sqrt(2)) < 1e-8
    images = torch.rand(2, 3, 24, 24)
    almost = torch.eye(3).repeat(2, 1, 1)
    almost[:, 0, 0] += 1e-7
    out = ada.resampled(images, almost)
    assert not torch.equal(out, images)
    torch.testing.assert_close(out[..., 4:-4, 4:-4], images[..., 4:-4, 4:-4], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (ada.scaling(-torch.ones(1, 1), torch.ones(1, 1)), lambda x: x.flip(3)),
        (ada.rotation(torch.full((1, 1), math.pi / 2)), lambda x: torch.rot90(x, 1, (2, 3))),
        (ada.rotation(torch.full((1, 1), math.pi)), lambda x: x.flip(2, 3)),
        (ada.shift(torch.full((1, 1), 3.0), torch.full((1, 1), -2.0)), lambda x: x.roll((-2, 3), (2, 3))),
    ],
    ids=["mirrored", "quarter-turn", "half-turn", "shifted"],
)
def test_geometry_moves_pixels_where_it_should(matrix: torch.Tensor, expected):
    images = smooth_images(1, 3, 32)
    out = ada.resampled(images, matrix)
    torch.testing.assert_close(out[..., 6:-6, 6:-6], expected(images)[..., 6:-6, 6:-6], atol=0.02, rtol=0)


def test_scaling_enlarges_about_the_centre_and_borders_are_mirrored():
    ramp = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32).contiguous()
    half = torch.full((1, 1), 0.5)
    large = ada.resampled(ramp, ada.scaling(half, half))
    torch.testing.assert_close(large[..., 8:-8, 8:-8], ramp[..., 8:-8, 8:-8] / 2, atol=0.01, rtol=0)
    small = ada.resampled(ramp, ada.scaling(half * 4, half * 4))  # half as large, between mirrored copies
    middle = small[0, 0, 16]
    assert abs(middle[8] - ramp[0, 0, 0, 1]) < 0.15
    torch.testing.assert_close(middle[:8], middle[8:16].flip(0), atol=0.1, rtol=0)


def test_colour_operations_have_their_formulas():
    """Single operations, by making all others impossible."""
    torch.manual_seed(0)
    matrix = ada.colours(p(1.0), rows(500))
    grey = torch.tensor([1.0, 1, 1]) / math.sqrt(3)
    along = torch.einsum("nij,j->ni", matrix[:, :3, :3], grey)
    # grey stays grey, and is multiplied by ±2^N(0, ½)
    torch.testing.assert_close(along, (along @ grey)[:, None] * grey, atol=1e-4, rtol=1e-4)
    exponents = (along @ grey).abs().log2()
    assert abs(exponents.std().item() - 0.5) < 0.05
    assert abs(((along @ grey) < 0).float().mean().item() - 0.5) < 0.07
    # colours across the grey axis are turned by any angle and multiplied by 2^N(0, 1), as contrast is
    across = torch.tensor([1.0, -1, 0]) / math.sqrt(2)
    turned = torch.einsum("nij,j->ni", matrix[:, :3, :3], across)
    assert (turned @ grey).abs().max() < 1e-3
    length = turned.norm(dim=1).log2() - exponents
    assert abs(length.std().item() - 1) < 0.1
    angle = (turned @ across) / turned.norm(dim=1)
    assert abs(angle.mean().item()) < 0.1
    offsets = matrix[:, :3, 3] / (along @ grey)[:, None]
    assert abs(offsets[:, 0].std().item() - 0.2) < 0.03


def test_grey_images_take_the_mean_of_the_colours():
    images = torch.rand(6, 1, 8, 8) * 2 - 1
    matrix = ada.colours(p(1.0), rows(6))
    whole = ada.recoloured(images.expand(-1, 3, -1, -1), matrix).mean(1, keepdim=True)
    torch.testing.assert_close(ada.recoloured(images, matrix), whole)


def test_cutout_hides_a_square_of_half_the_size():
    mask = ada.cutout_mask(torch.ones(300, 1), rows(300), 16, 16)
    hidden = (mask == 0).flatten(1).sum(1)
    assert hidden.max() == 64
    assert hidden.min() >= 9


@pytest.mark.parametrize("name", ["ada", "diffaugment"])
def test_augmentations_can_be_differentiated_twice(name: str):
    """R1 takes the gradient of the score of the image before its augmentation, and its square is differentiated."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64).float().requires_grad_()
    weight = torch.randn(3, 8, 8, requires_grad=True)

    def score(x: torch.Tensor) -> torch.Tensor:
        if name == "ada":
            x = ada.augmented(x, p(0.9), rows(2), **ALL)
        else:
            x = diffaugment.augmented(x, rows(2))
        return (x * weight).sum((1, 2, 3)).square()

    (gradient,) = torch.autograd.grad(score(images).sum(), images, create_graph=True)
    value = gradient.square().sum()
    (second,) = torch.autograd.grad(value, weight)
    assert second.isfinite().all()
    step = 1e-3 * second / second.norm()
    with torch.no_grad():
        weight += step
    (after,) = torch.autograd.grad(score(images).sum(), images, create_graph=True)
    expected = (second * step).sum().item()
    assert abs((after.square().sum() - value).item() - expected) < 0.05 * abs(expected)


@pytest.mark.parametrize("name", ["ada", "diffaugment"])
def test_a_row_does_not_depend_on_the_part_of_the_batch_that_it_is_in(name: str):
    images = smooth_images(8, 3, 16)

    def apply(x: torch.Tensor, rng: Draws) -> torch.Tensor:
        return ada.augmented(x, p(0.8), rng, **ALL) if name == "ada" else diffaugment.augmented(x, rng)

    whole = apply(images, StepDraws(3, 8, 0, 8, CPU))
    parts = [apply(images[i : i + 2], StepDraws(3, 8, i, 2, CPU)) for i in range(0, 8, 2)]
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=1e-5)


# --------------------------------------------------------------------------------------------------------- DiffAugment


def test_diffaugment_draws_from_the_stated_ranges():
    images = torch.zeros(2000, 3, 2, 2)
    bright = diffaugment.recoloured(images, rows(2000))
    assert -0.5 <= bright.min() < -0.48
    assert 0.48 < bright.max() <= 0.5
    coloured = torch.tensor([1.0, 0, -1])[:, None, None].expand(2000, 3, 2, 2)
    out = diffaugment.recoloured(coloured, rows(2000))
    spread = out[:, 0, 0, 0] - out[:, 1, 0, 0]  # saturation times contrast
    assert spread.min() >= 0
    assert 2.5 < spread.max() <= 3
    assert abs(spread.mean().item() - 1) < 0.05
    assert torch.equal(diffaugment.recoloured(torch.ones(3, 4, 2, 2), rows(3))[:, 3], torch.ones(3, 2, 2))


def test_translation_moves_up_to_an_eighth_and_lets_black_in():
    one = torch.zeros(400, 1, 16, 16)
    one[:, :, 8, 8] = 1
    places = diffaugment.translated(one, rows(400)).flatten(1).argmax(1)
    moves = torch.stack([places // 16, places % 16], 1) - 8
    assert moves.unique().tolist() == [-2, -1, 0, 1, 2]
    filled = diffaugment.translated(torch.ones(400, 2, 16, 16), rows(400))
    assert filled.unique().tolist() == [0, 1]


def test_cutout_of_diffaugment_hides_half_the_width():
    out = diffaugment.cut_out(torch.ones(400, 2, 16, 16), rows(400))
    hidden = (out[:, 0] == 0).flatten(1).sum(1)
    assert hidden.max() == 64
    assert hidden.min() == 16
    assert torch.equal(out[:, 0], out[:, 1])


# ---------------------------------------------------------------------------------------------------------- controller


def after(controller: ada.ADA, score: float, updates: int, batch: int = 64) -> float:
    for _ in range(updates):
        observed = controller.observe(torch.full((batch,), score))
        controller.learn(observed, batch)
    return float(controller.strength)


def test_p_follows_the_signs_of_the_scores_at_the_stated_speed():
    """With r = 1, p grows by batch · 4 / 500,000 every four updates; with r = -1 it falls, but not below 0."""
    controller = ada.ADA()
    assert after(controller, 3.0, 3) == 0
    assert after(controller, 3.0, 1) == pytest.approx(64 * 4 / 500_000)
    assert after(controller, 3.0, 36) == pytest.approx(64 * 40 / 500_000, rel=1e-5)
    assert after(controller, -3.0, 20) == pytest.approx(64 * 20 / 500_000, rel=1e-5)
    assert after(controller, -3.0, 40) == 0
    assert after(ada.ADA(samples=1000, limit=0.5), 1.0, 40) == 0.5


def test_p_rises_only_above_the_target():
    for share, rises in ((0.85, True), (0.75, False)):  # mean signs 0.7 and 0.5, target 0.6
        controller = ada.ADA(samples=1000)
        controller.strength.fill_(0.2)
        scores = torch.where(torch.arange(100) < 100 * share, 1.0, -1.0)
        for _ in range(4):
            controller.learn(controller.observe(scores), 10)
        assert (controller.strength > 0.2) == rises


@pytest.mark.parametrize(
    "make",
    [
        lambda: ada.ADA(target=2),
        lambda: ada.Pipeline(colour=1.5),
        lambda: diffaugment.DiffAugment(policy="colour,zoom"),
        lambda: Affine(scale=0.5),
    ],
)
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError, match=r"-1 … 1|factor|zoom|scale 1 … 4"):
        make()


def test_diffaugment_reaches_the_stated_share():
    images = torch.rand(300, 1, 8, 8)
    for strength in (0.0, 0.5, 1.0):
        out = diffaugment.DiffAugment()(images, rows(300), p(strength))
        assert abs((out != images).flatten(1).any(1).float().mean().item() - strength) < 0.08


def spot(side: int) -> torch.Tensor:
    """A soft spot 6 pixels right of the middle, -1 elsewhere."""
    y, x = torch.meshgrid(*(torch.arange(side) - (side - 1) / 2,) * 2, indexing="ij")
    return (2 * torch.exp(-((x - 6).square() + y.square()) / 8) - 1)[None, None]


def centres(images: torch.Tensor) -> torch.Tensor:
    """``(N, 2)``: x and y of the spots' centres, from the middle, in pixels."""
    side = images.shape[-1]
    weight = (images[:, 0] + 1).clamp_min(0)
    axis = torch.arange(side) - (side - 1) / 2
    total = weight.sum((1, 2))
    return torch.stack([(weight.sum(1) * axis).sum(1) / total, (weight.sum(2) * axis).sum(1) / total], 1)


def test_affine_changes_reach_what_they_state():
    """A spot 6 pixels right of the middle moves by up to 6 sin 20° with a turn, to 6 / 1.25 … 6 · 1.25 with a scale, by
    up to 0.1 · 32 with a shift, and neither up nor down with a shear."""
    images = spot(32).repeat(400, 1, 1, 1)
    still = {"degrees": 0.0, "scale": 1.0, "shear": 0.0, "move": 0.0}
    found = {
        name: centres(Affine(**{**still, name: value})(images, rows(400), p(1.0)))
        for name, value in {"degrees": 20.0, "scale": 1.25, "shear": 0.4, "move": 0.1}.items()
    }
    assert found["degrees"][:, 1].abs().max() == pytest.approx(6 * math.sin(math.radians(20)), abs=0.25)
    assert found["degrees"].norm(dim=1).sub(6).abs().max() < 0.1
    assert found["scale"][:, 0].min() < 5.2
    assert found["scale"][:, 0].max() > 7.0
    assert found["shear"][:, 1].abs().max() < 0.05
    assert found["move"].sub(torch.tensor([6.0, 0.0])).abs().max() == pytest.approx(3.2, abs=0.2)
    assert (Affine()(images, rows(400), p(0.0)) - images).abs().max() < 1e-5
