"""StyleGAN2: published sizes, both forms of modulated convolutions, its state, classes, truncation and its game."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from gan.contracts import Architecture, ConditionalOnInput, FieldSpec, Request, SmoothLatentSpace
from gan.data.order import Order
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import NonSaturating
from gan.parts.style import (
    Convolution,
    ModulatedConvolution,
    StyleDiscriminator,
    StyleGenerator,
    downsample,
    low_pass_filter,
    minibatch_deviation,
    unit_moment,
    upsample,
)
from gan.penalties import R1
from gan.recipe import Training
from gan.runtime.device import Device
from gan.storage.checkpoint import Checkpoints
from gan.training.trainer import Trainer
from gan_image.architectures.classes import training_labels
from gan_image.architectures.stylegan2 import (
    StyleGAN2,
    StyleGAN2Config,
    StyleGAN2Options,
    mixed_styles,
    path_lengths,
)
from gan_image.augmentations.ada import ADA
from torch import nn
from torch.nn import functional

CPU = torch.device("cpu")
SMALL = {"latent": 8, "style": 8, "mapping_layers": 2, "capacity": 64, "max_channels": 6}


def fields(side: int = 16, channels: int = 1, classes: int = 0) -> dict[str, FieldSpec]:
    found = {"image": FieldSpec((channels, side, side), "uint8", 0, 255, "intensity")}
    if classes:
        names = tuple(f"class-{index}" for index in range(classes))
        found["label"] = FieldSpec((), "int64", 0, classes - 1, "class index", names=names, condition=True)
    return found


def small(seed: int = 0, classes: int = 0, **settings: object) -> StyleGAN2:
    torch.manual_seed(seed)
    return StyleGAN2(StyleGAN2Config(**{**SMALL, **settings}), fields(classes=classes))


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# ------------------------------------------------------------------------------------------------------------ networks


@pytest.mark.parametrize(
    ("side", "capacity", "layers", "generator", "discriminator"),
    [
        (32, 32768, 2, 19_947_539, 21_507_073),
        (64, 16384, 2, 22_243_608, 23_407_361),
        (64, 16384, 8, 23_819_544, 23_407_361),
        (256, 16384, 8, 24_767_458, 24_001_089),
        (256, 32768, 8, 30_034_338, 28_864_129),
        (1024, 32768, 8, 30_370_060, 29_012_513),
    ],
)
def test_parameter_counts_are_the_published_ones(
    side: int, capacity: int, layers: int, generator: int, discriminator: int
):
    config = StyleGAN2Config(capacity=capacity, mapping_layers=layers)
    with torch.device("meta"):
        assert size(StyleGenerator(config, 3, side)) == generator
        assert size(StyleDiscriminator(config, 3, side)) == discriminator


@pytest.mark.parametrize("side", [8, 16, 64])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_resolution_of_4_times_a_power_of_two(side: int, channels: int):
    config = StyleGAN2Config(**SMALL)
    model = StyleGAN2(config, fields(side, channels))
    images = model.generate(2, SeededDraws.of(0, 0, 2, CPU), Request())["image"]
    assert images.shape == (2, channels, side, side)
    assert images.dtype == torch.uint8
    assert model.generator.styles == 2 * math.log2(side) - 2
    assert len(model.generator.fixed_noise()) == model.generator.styles - 1
    assert model.discriminator(images.float() / 127.5 - 1).shape == (2,)


def test_other_resolutions_and_layouts_are_refused_with_the_setting():
    for side in (4, 12, 28):
        with pytest.raises(UsageError, match=r"modality\.resolution"):
            StyleGAN2(StyleGAN2Config(**SMALL), fields(side))
    with pytest.raises(UsageError, match=r"modality\.layout"):
        StyleGAN2(StyleGAN2Config(**SMALL), {"source": fields()["image"], "target": fields()["image"]})


@pytest.mark.parametrize(
    ("kernel", "demodulate", "up"), [(3, True, False), (3, True, True), (3, False, False), (1, False, False)]
)
def test_grouped_and_scaled_modulation_are_the_same_function(kernel: int, demodulate: bool, up: bool):
    """Values, gradients and gradients of gradients (path lengths differentiate twice), in float64."""
    torch.manual_seed(1)
    layer = ModulatedConvolution(5, 7, kernel, 4, demodulate=demodulate, up=up).double()
    x = torch.randn(3, 5, 6, 6, dtype=torch.float64, requires_grad=True)
    w = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    results = []
    for form in ("grouped", "scaled"):
        out = layer(x, w, form)
        first = torch.autograd.grad((out.sin()).sum(), w, create_graph=True)[0]
        second = torch.autograd.grad(first.square().sum(), [layer.weight, x, w])
        results.append([out, first, *second])
    assert results[0][0].shape == (3, 7, 12 if up else 6, 12 if up else 6)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_enlarging_is_filtering_then_convolving_in_the_interior():
    torch.manual_seed(0)
    layer = ModulatedConvolution(3, 4, 3, 5, up=True)
    x, w = torch.randn(2, 3, 8, 8), torch.randn(2, 5)
    styles = layer.affine(w)
    weight = layer.weight.flip(2, 3) * styles[:, None, :, None, None]
    weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    large = upsample(x, layer.filter)
    expected = torch.cat([functional.conv2d(large[i : i + 1], weight[i], padding=1) for i in range(2)])
    torch.testing.assert_close(layer(x, w)[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=1e-4, atol=1e-5)


def test_the_filters_keep_a_constant_and_halving_follows_the_formula():
    kernel, flat = low_pass_filter(), torch.ones(1, 2, 8, 8)
    assert upsample(flat, kernel).shape == (1, 2, 16, 16)
    torch.testing.assert_close(upsample(flat, kernel)[..., 2:-2, 2:-2], torch.ones(1, 2, 12, 12))
    torch.testing.assert_close(downsample(flat, kernel)[..., 1:-1, 1:-1], torch.ones(1, 2, 2, 2))
    x, half = torch.randn(1, 2, 8, 8), Convolution(2, 3, 3, down=True)
    padded = functional.pad(x, (2, 2, 2, 2))
    soft = functional.conv2d(padded, kernel.expand(2, 1, 4, 4), groups=2)
    torch.testing.assert_close(half(x), functional.conv2d(soft, half.weight / math.sqrt(18), stride=2))


def test_demodulated_features_have_unit_deviation():
    torch.manual_seed(0)
    layer = ModulatedConvolution(64, 64, 3, 32)
    out = layer(torch.randn(8, 64, 16, 16), torch.randn(8, 32))
    deviations = out[..., 1:-1, 1:-1].std((0, 2, 3))
    assert (deviations - 1).abs().max() < 0.1


def test_noise_has_no_influence_at_first_and_then_adds_to_each_layer():
    model = small()
    styles = torch.randn(2, model.generator.styles, 8)
    rng = SeededDraws.of(0, 0, 2, CPU)
    assert torch.equal(model.generator(styles), model.generator(styles, model.generator.random_noise(rng)))
    with torch.no_grad():
        for block in model.generator.blocks:
            for layer in block.layers:
                layer.noise_strength.fill_(0.5)
    noisy = model.generator(styles, model.generator.random_noise(rng))
    assert not torch.equal(model.generator(styles), noisy)
    assert torch.equal(model.generator(styles), model.generator(styles, model.generator.fixed_noise()))


def test_minibatch_deviation_of_equal_images_and_of_known_ones():
    x = torch.randn(1, 3, 4, 4).expand(8, -1, -1, -1)
    out = minibatch_deviation(x, 4)
    assert out.shape == (8, 4, 4, 4)
    torch.testing.assert_close(out[:, 3], torch.full((8, 4, 4), 1e-4))
    steps = torch.arange(4.0)[:, None, None, None].expand(4, 2, 4, 4)
    two = minibatch_deviation(steps, 2)[:, 2, 0, 0]  # groups (0, 2) and (1, 3), both with deviation 1
    torch.testing.assert_close(two, torch.ones(4))
    torch.testing.assert_close(minibatch_deviation(steps, 4)[:, 2, 0, 0], torch.full((4,), math.sqrt(1.25)))
    assert minibatch_deviation(steps[:3], 4).shape == (3, 3, 4, 4)  # 3 is no multiple of 4 or 2: one group of 3


def test_path_length_of_a_linear_generator_follows_from_its_matrix():
    """Images A·w of one style: ‖Jᵀy‖ = ‖Aᵀy‖; with two styles that share w equally, the mean of both squares."""
    torch.manual_seed(0)
    matrix, noise = torch.randn(16, 5), torch.randn(3, 1, 4, 4)
    styles = torch.randn(3, 2, 5, requires_grad=True)
    images = (styles.sum(1) @ matrix.T).view(3, 1, 4, 4)
    expected = (noise.flatten(1) / 4 @ matrix).norm(dim=1)
    torch.testing.assert_close(path_lengths(images, styles, noise), expected)


def test_mixing_changes_the_later_layers_of_the_stated_share():
    first, second = torch.zeros(2000, 3), torch.ones(2000, 3)
    mixed = mixed_styles(first, second, 6, SeededDraws.of(0, 0, 2000, CPU), 0.9)
    assert mixed.shape == (2000, 6, 3)
    assert (mixed[:, 0] == 0).all()  # the first layer is never mixed
    assert (mixed.diff(dim=1) >= 0).all()  # once the second style begins, it stays
    begin = mixed[:, :, 0].sum(1)  # number of layers with the second style, 0 … 5
    shares = torch.bincount(begin.long(), minlength=6) / 2000
    assert abs(shares[0].item() - 0.1) < 0.03
    assert (shares[1:] - 0.18).abs().max() < 0.04
    assert torch.equal(mixed_styles(first, second, 6, SeededDraws.of(0, 0, 2000, CPU), 0.0)[:, -1], first)


# -------------------------------------------------------------------------------------------------------- generation


def test_generate_decodes_its_latents_and_samples_depend_on_their_own_seed():
    model = small().eval()
    assert isinstance(model, Architecture)
    assert isinstance(model, SmoothLatentSpace)
    assert isinstance(model, ConditionalOnInput)
    with torch.no_grad():
        latents = model.latents(3, SeededDraws.of(1, 0, 3, CPU))
        images = model.generate(3, SeededDraws.of(1, 0, 3, CPU), Request())["image"]
        assert torch.equal(model.decode(latents, Request())["image"], images)
        assert torch.equal(model.decode(model.styles_of(latents, Request()), Request())["image"], images)
        smooth = model.decode_smooth(latents, Request())["image"]
        assert (smooth - images).abs().max() <= 0.5 + 1e-3
        for noise in ("fixed", "random", "none"):
            request = Request(StyleGAN2Options(noise=noise))
            alone = model.generate(1, SeededDraws.of(3, 7, 1, CPU), request)["image"]
            eight = model.generate(8, SeededDraws.of(3, 0, 8, CPU), request)["image"]
            assert (eight[7].int() - alone[0].int()).abs().max() <= 1


def test_truncation_moves_styles_to_their_average_up_to_the_cutoff():
    model = small().eval()
    with torch.no_grad():
        z = model.latents(6, SeededDraws.of(1, 0, 6, CPU))
        styles = model.styles_of(z, Request())
        model.w_average.copy_(styles[:, 0].mean(0))

        def image(truncation: float, cutoff: int = 0) -> torch.Tensor:
            options = StyleGAN2Options(truncation=truncation, truncation_cutoff=cutoff)
            return model.decode_smooth(z, Request(options))["image"]

        assert image(0.0).std(0).max() < 1e-3  # all images are that of the average but for rounding
        spreads = [image(psi).std(0).mean().item() for psi in (0.0, 0.25, 0.5, 1.0)]
        assert spreads == sorted(spreads)
        torch.testing.assert_close(image(1.0), model.decode_smooth(styles, Request())["image"])
        half = styles.clone()
        half[:, :2] = torch.lerp(model.w_average, half[:, :2], 0.5)
        torch.testing.assert_close(image(0.5, 2), model.decode_smooth(half, Request())["image"])


# ------------------------------------------------------------------------------------------------------------- classes


def test_labels_choose_the_style_and_the_score():
    model = small(classes=3).eval()
    assert model.given_fields() == ("label",)
    z = model.latents(3, SeededDraws.of(1, 0, 3, CPU))[:1].expand(3, -1)
    request = Request(given={"label": torch.arange(3)})
    styles = model.styles_of(z, request)
    assert (styles[0] - styles[1]).abs().max() > 0.1
    scores = model.discriminator(torch.zeros(3, 1, 16, 16), torch.eye(3))
    assert scores.shape == (3,)
    assert scores[0] != scores[1]
    with pytest.raises(UsageError, match="--label"):
        model.styles_of(z, Request())
    with pytest.raises(UsageError, match="label_dropout"):
        model.styles_of(z, Request(StyleGAN2Options(unconditional=True), request.given))
    open_minded = small(classes=3, label_dropout=0.2).eval()
    request = Request(StyleGAN2Options(unconditional=True), {"label": torch.arange(3)})
    styles = open_minded.styles_of(z, request)
    torch.testing.assert_close(styles[0], styles[2])


def test_the_projection_is_the_product_with_the_embedded_label():
    model = small(classes=3)
    net = model.discriminator
    assert net.label_mapping is not None
    images = torch.randn(2, 1, 16, 16)
    labels = torch.eye(3)[[0, 2]]
    with torch.no_grad():
        seen: list[torch.Tensor] = []
        net.score.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        scores = net(images, labels)
        target = unit_moment(net.label_mapping(None, labels))
    torch.testing.assert_close(scores, (seen[0] * target).sum(1) / math.sqrt(target.shape[1]))


# ------------------------------------------------------------------------------------------------------------ training


class Random:
    """64 random images with labels."""

    def __init__(self, classes: int) -> None:
        rng = np.random.default_rng(0)
        self.fields = {"image": rng.integers(0, 256, (64, 1, 16, 16), dtype=np.uint8)}
        if classes:
            self.fields["label"] = rng.integers(0, classes, 64)

    def __len__(self) -> int:
        return 64

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values[indices] for name, values in self.fields.items()}


def trainer(
    model: StyleGAN2, iterations: int = 6, batch: int = 8, augmentations: dict | None = None, **training: object
) -> Trainer:
    penalties = {"r1": R1(weight=0.1, every=4)}
    return Trainer(
        model,
        model.players(),
        model.phases(NonSaturating(), penalties),
        Random(model.classes),
        Order(64, 3),
        Training(samples=iterations * batch, batch=batch, **training),
        3,
        Device(CPU, torch.float32),
        augmentations,
    )


def trained(model: StyleGAN2, **settings: object) -> StyleGAN2:
    trainer(model, **settings).run(lambda tick: None)
    return model


def test_the_averages_are_those_of_the_formulas():
    """One iteration: w moves by 0.005 of its mean, and the path length by 0.01, both from 0."""
    model = small(style_mixing=0.0)
    with torch.no_grad():
        seen: list[torch.Tensor] = []
        model.generator.mapping.register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach()))
    trained(model, iterations=1)
    # mapped: the discriminator's fakes, then R1's (it needs none), then the generator's, then those of the path lengths
    torch.testing.assert_close(model.w_average, 0.005 * seen[-2].mean(0), rtol=1e-4, atol=1e-7)
    assert model.path_length_mean > 0
    fresh = [(a - b).abs().max() > 0 for a, b in zip(seen, seen[1:], strict=False)]
    assert all(fresh)  # every update draws latents of its own


@pytest.mark.parametrize("classes", [0, 3])
def test_parts_of_a_batch_learn_what_the_whole_batch_learns(classes: int):
    """Without minibatch deviation, which depends on what is computed together."""
    states = []
    for micro_batch in (None, 2):
        model = small(classes=classes, group=1, label_dropout=0.3 if classes else 0.0)
        trained(model, iterations=5, micro_batch=micro_batch)
        states.append(model.state_dict())
    assert states[0]["path_length_mean"] > 0
    for other in states[1:]:
        for name in ("w_average", "path_length_mean", "generator.constant", "discriminator.hidden.weight"):
            torch.testing.assert_close(other[name], states[0][name], rtol=2e-3, atol=2e-4)


@pytest.mark.rule("R7")
def test_a_resumed_training_has_the_same_averages_and_weights(tmp_path: Path):
    """With ADA, whose p rises with every score that is above the target of -1."""
    whole, adaptive = small(classes=3, label_dropout=0.2), ADA(target=-1, samples=100)
    trained(whole, augmentations={"ada": adaptive})
    first = trainer(small(classes=3, label_dropout=0.2), augmentations={"ada": ADA(target=-1, samples=100)})
    first.run(lambda tick: None, lambda: first.samples >= 24)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(first.samples, first.owners(), {})
    resumed = ADA(target=-1, samples=100)
    second = trainer(small(seed=5, classes=3, label_dropout=0.2), augmentations={"ada": resumed})
    checkpoints.newest().load(second.owners())
    ticks = []
    second.run(ticks.append)
    assert 0.08 < ticks[-1].terms["discriminator/_ada_strength"] <= 0.32  # the mean over a tick
    state = second.architecture.state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(state[name], value), name
    assert state["w_average"].abs().max() > 0
    assert resumed.strength == adaptive.strength == pytest.approx(0.32)  # after four updates of eight images
    assert torch.equal(resumed.since, adaptive.since)
    assert resumed.since[2] == 2  # six updates: two since then


def test_path_length_regularization_makes_lengths_more_equal():
    """The generator alone, trained on the regularizer: the spread of the lengths falls from 0.43 of their mean to about
    0.26, while the mean stays."""
    model = small(path_length_every=1, style_mixing=0.0, style=16, latent=16)

    def lengths() -> torch.Tensor:
        latents = model.latents(128, SeededDraws.of(9, 0, 128, CPU))
        styles = model.styles_of(latents, Request()).detach().requires_grad_()
        images = model.generator(styles)
        return path_lengths(images, styles, SeededDraws.of(8, 0, 128, CPU).randn(*images.shape[1:])).detach()

    before = lengths()
    turn = model.phases(NonSaturating(), {})[0].turns[-1]
    assert turn.learn is not None
    optimizer = torch.optim.Adam(model.generator.parameters(), lr=0.02, betas=(0.0, 0.99))
    model.path_length_mean.copy_(before.mean())
    for step in range(40):
        batch = Batch({}, StepDraws(step, 32, 0, 32, CPU), 0, 0.0)
        optimizer.zero_grad()
        turn.objective(batch)["path_length"].backward()
        optimizer.step()
        with torch.no_grad():
            turn.learn(batch.observed, batch.rng)
    after = lengths()
    assert after.std() / after.mean() < 0.75 * before.std() / before.mean()
    assert abs(after.mean() / before.mean() - 1) < 0.3


def test_a_hidden_label_is_hidden_from_both_players():
    model = small(classes=3, label_dropout=0.5)
    shared: dict[str, object] = {}
    labels = torch.arange(3).repeat(20)
    first = training_labels(Batch({"label": labels}, StepDraws(1, 60, 0, 60, CPU), 0, 0.0, shared), 3, 0.5)
    again = training_labels(Batch({"label": labels}, StepDraws(2, 60, 0, 60, CPU), 0, 0.0, shared), 3, 0.5)
    assert first is not None
    assert first is again
    shown = first.sum(1)
    assert 10 < shown.sum() < 50
    assert torch.equal(first[shown > 0].argmax(1), labels[shown > 0])
    trained(model, iterations=2)
