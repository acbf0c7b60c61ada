"""ESRGAN: published sizes, degradations on the device, the perceptual loss, both phases, and tiles without seams."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gan import api
from gan.build import recipe_values, resolve
from gan.contracts import FieldSpec, Given, InTiles, Request, Tiles
from gan.data.order import Order
from gan.draws import CounterDraws, SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch, Schedule
from gan.generation.tiles import in_strips
from gan.losses import NonSaturating, RelativisticAverage, TopK
from gan.plugins.manager import Plugins
from gan.recipe import Training
from gan.runtime.device import Device
from gan.source import SourceFile
from gan.training.trainer import Trainer
from gan_image.architectures import degradations
from gan_image.architectures.degradations import compressed, degraded, filtered, gaussian_kernels, resized, sinc_kernels
from gan_image.architectures.esrgan import (
    ESRGAN,
    ESRGANConfig,
    ESRGANOptions,
    RRDBNet,
    UNetDiscriminator,
    VGGDiscriminator,
    sharpened,
    turned,
)
from gan_image.architectures.perceptual import PerceptualLoss
from gan_image.modality import ImageConfig, ImageModality
from PIL import Image

CPU = torch.device("cpu")


def fields(side: int = 32, factor: int = 2, channels: int = 3) -> dict[str, FieldSpec]:
    small = FieldSpec((channels, side // factor, side // factor), "uint8", 0, 255, "intensity")
    return {"source": small, "target": FieldSpec((channels, side, side), "uint8", 0, 255, "intensity")}


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def esrgan(factor: int = 2, side: int = 32, channels: int = 3, **settings: Any) -> ESRGAN:
    torch.manual_seed(0)
    small = {"width": 8, "blocks": 1, "growth": 4, "discriminator_width": 4, "perceptual": "edges", **settings}
    return ESRGAN(ESRGANConfig(**small), fields(side, factor, channels))


def rng(count: int = 4, seed: int = 0) -> StepDraws:
    return StepDraws(seed, count, 0, count, CPU)


def smooth(count: int = 4, side: int = 32, channels: int = 3) -> torch.Tensor:
    """Images with soft structure in -1 … 1."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, channels, 6, 6, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(-1, 1)


def batch(side: int = 32, factor: int = 2, count: int = 4, channels: int = 3) -> Batch:
    large = ((smooth(count, side, channels) + 1) * 127.5).round().to(torch.uint8)
    small = torch.nn.functional.avg_pool2d(large.float(), factor).round().to(torch.uint8)
    return Batch({"source": small, "target": large}, rng(count), 0, 0.0)


# ---------------------------------------------------------------------- published sizes


@pytest.mark.parametrize(
    ("factor", "settings", "expected"),
    [
        (4, (64, 23, 32), 16_697_987),
        (2, (64, 23, 32), 16_703_171),
        (1, (64, 23, 32), 16_723_907),
        (4, (64, 6, 32), 4_467_779),
        (4, (16, 2, 8), 100_307),
        (2, (16, 2, 8), 101_603),
    ],
)
def test_the_generator_has_the_published_parameter_counts(factor: int, settings: tuple[int, int, int], expected: int):
    with torch.device("meta"):
        assert size(RRDBNet(3, factor, *settings)) == expected


def test_the_discriminators_have_the_published_parameter_counts():
    assert (size(UNetDiscriminator(3, 64)), size(UNetDiscriminator(3, 16))) == (4_376_897, 274_001)
    assert size(VGGDiscriminator(3, 64, 128)) == 14_499_401


def test_recipes_have_the_sizes_that_were_counted(monkeypatch: pytest.MonkeyPatch):
    plugins = Plugins.installed()
    for name, expected in {
        "esrgan-x2": {"width": 16, "blocks": 2, "growth": 8, "discriminator_width": 16},
        "esrgan-x4": {"width": 64, "blocks": 23, "growth": 32, "discriminator": "vgg", "rounds": 0},
        "real-esrgan-x2": {"width": 64, "blocks": 23, "growth": 32, "discriminator": "unet", "rounds": 2},
        "real-esrgan-x4": {"width": 64, "blocks": 23, "growth": 32, "discriminator": "unet", "sharpen": True},
    }.items():
        resolved = resolve(recipe_values(plugins, "image", named=name), plugins)
        assert {key: getattr(resolved.model_config, key) for key in expected} == expected, name
        assert resolved.modality_config.factor == int(name[-1])


# ---------------------------------------------------------------------- degradations


@pytest.mark.parametrize("rounds", [1, 2])
def test_degradations_are_a_function_of_the_draws(rounds: int):
    """Equal draws give equal images; rows of a part of a batch are those of the whole; the draws of counters, which
    stay on the device, serve as well."""
    images = smooth()
    whole = degraded(images, rng(), 2, rounds)
    assert whole.shape == (4, 3, 16, 16)
    assert torch.equal(whole, degraded(images, rng(), 2, rounds))
    assert not torch.equal(whole, degraded(images, rng(seed=1), 2, rounds))
    part = degraded(images[2:], StepDraws(0, 4, 2, 2, CPU), 2, rounds)
    assert (part - whole[2:]).abs().max() <= 2 / 127.5, "rounding of sums may move a value by a level"
    key = torch.tensor([1, 2], dtype=torch.int32)
    counted = degraded(images, CounterDraws(key, 4, 0, 4), 2, rounds)
    assert torch.equal(counted, degraded(images, CounterDraws(key, 4, 0, 4), 2, rounds))
    levels = (whole + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)


def test_degraded_images_are_worse_than_small_ones_and_still_the_same():
    """They correlate with the clean small image, two rounds less than one."""
    images = smooth(64)
    clean = torch.nn.functional.avg_pool2d(images, 2)
    errors = [(degraded(images, rng(64), 2, rounds) - clean).square().mean().sqrt().item() for rounds in (1, 2)]
    assert 0.03 < errors[0] < errors[1] < clean.std().item()


def test_alpha_is_only_made_smaller():
    images = torch.cat([smooth(), smooth(4, 32, 1)], 1)
    found = degraded(images, rng(), 4)
    torch.testing.assert_close(found[:, 3:], torch.nn.functional.avg_pool2d(images[:, 3:], 4))
    assert degraded(smooth(4, 32, 1), rng(), 2).shape == (4, 1, 16, 16)


def test_kernels_sum_to_one_and_keep_a_constant_image():
    for kernels in (gaussian_kernels(rng(64), (0.2, 3.0)), sinc_kernels(rng(64))):
        torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(64))
        grey = torch.full((64, 1, 24, 24), 0.25)
        torch.testing.assert_close(filtered(grey, kernels), grey)
        torch.testing.assert_close(kernels, kernels.flip(1, 2))  # all are even functions
    sides = ((sinc_kernels(rng(256)) != 0).any(2).sum(1)).unique()
    assert set(sides.tolist()) <= {7, 9, 11, 13, 15, 17, 19, 21}
    assert len(sides) > 4


@pytest.mark.parametrize(("mode", "name"), [(1, "bilinear"), (2, "bicubic")])
@pytest.mark.parametrize("after", [9, 16, 23])
def test_resizing_is_that_of_torch_for_each_image_of_its_own_size(mode: int, name: str, after: int):
    images = smooth(2, 16)
    sizes, wanted = torch.tensor([16.0, 16.0]), torch.tensor([float(after), 12.0])
    found, _ = resized(images, sizes, wanted, torch.tensor([mode, mode]), 24)
    for index, side in enumerate((after, 12)):
        expected = torch.nn.functional.interpolate(images[index : index + 1], (side, side), mode=name)
        torch.testing.assert_close(found[index : index + 1, :, :side, :side], expected, atol=1e-5, rtol=0)
        assert torch.equal(found[index, :, side:, 0], found[index, :, side - 1 : side, 0].expand(-1, 24 - side))


def test_resizing_by_area_is_the_mean_over_a_pixel():
    images = smooth(2, 16)
    found, _ = resized(images, torch.full((2,), 16.0), torch.full((2,), 4.0), torch.zeros(2), 4)
    torch.testing.assert_close(found, torch.nn.functional.avg_pool2d(images, 4))


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_compression_is_jpeg(quality: int):
    """The mean difference from Pillow's encoder, which rounds more often, is under two grey values, and well under
    that of either from the original."""
    image = (smooth(1, 48)[0] + 1) * 127.5 + 10 * torch.randn(3, 48, 48, generator=torch.Generator().manual_seed(2))
    image = image.clamp(0, 255).round()
    file = io.BytesIO()
    array = image.permute(1, 2, 0).to(torch.uint8).numpy()
    Image.fromarray(array).save(file, "JPEG", quality=quality, subsampling=2)
    theirs = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float()
    ours = compressed(image[None] / 255, torch.tensor([float(quality)]))[0] * 255
    lost = (theirs - image).abs().mean()
    assert (ours - theirs).abs().mean() < min(2.0, 0.5 * lost)


def test_noise_has_the_deviation_that_was_drawn():
    kind = degradations.Round(0, (1, 1), 0, 0, (1, 1), (20.0, 20.0), (2.0, 2.0))
    grey = torch.full((400, 3, 16, 16), 0.5)
    deviations = (degradations.noisy(grey, rng(400), kind) - grey).flatten(1).std(1)
    expected = torch.tensor([20 / 255, 2 * (0.5 / 256) ** 0.5])  # Gaussian, Poisson
    nearest = (deviations[:, None] - expected).abs().amin(1)
    assert nearest.max() < 0.02
    assert ((deviations - expected[0]).abs() < 0.006).float().mean() > 0.3


# ---------------------------------------------------------------------- losses


def test_sharpening_keeps_flat_images_and_steepens_edges():
    flat = torch.full((1, 3, 64, 64), 0.3)
    torch.testing.assert_close(sharpened(flat), flat)
    step = torch.where(torch.arange(64) < 32, -0.4, 0.4).expand(1, 3, 64, 64)
    found = sharpened(step)
    assert found[..., 31].mean() < -0.5
    assert found[..., 32].mean() > 0.5


def test_images_are_turned_alike_all_eight_ways():
    image = torch.arange(16.0).view(1, 1, 4, 4).expand(200, -1, -1, -1)
    one, other = turned([image, image + 100], rng(200))
    assert torch.equal(other, one + 100)
    assert len({tuple(row.flatten().tolist()) for row in one}) == 8


def test_the_perceptual_loss_without_a_file_compares_edges():
    loss = PerceptualLoss("edges")
    images = smooth()
    assert loss(images, images).item() == 0
    assert loss(images + 0.1, images).item() == pytest.approx(0, abs=1e-6)  # a constant has no edges
    made = images.clone().requires_grad_()
    loss(made, smooth().flip(3)).backward()
    assert made.grad.abs().sum() > 0


def test_the_perceptual_loss_names_the_file_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("GAN_WEIGHTS", str(tmp_path))
    with pytest.raises(UsageError, match=r"vgg19-dcbb9e9d\.pth"):
        esrgan(perceptual="vgg19")


# ---------------------------------------------------------------------- the game


@pytest.mark.parametrize(
    ("settings", "loss"),
    [({"rounds": 1}, NonSaturating()), ({"rounds": 0, "discriminator": "vgg"}, RelativisticAverage())],
)
def test_both_phases_learn_from_the_same_pair_in_an_iteration(settings: dict[str, Any], loss: Any):
    model = esrgan(**settings)
    pixels, adversarial = model.phases(loss, {})
    assert pixels.is_baseline
    shown = batch()
    found = pixels.turns[0].objective(shown)
    assert found.keys() == {"pixel"}
    shown = batch()
    critic, generator = (turn.objective(shown) for turn in adversarial.turns)
    assert {"loss"} <= critic.keys()
    assert {"loss", "pixel", "perceptual"} <= generator.keys()
    small, large, wanted = shown.shared["pair"]
    assert small.shape == (4, 3, 16, 16)
    assert not torch.equal(wanted, large), "the target is sharpened"
    assert generator["pixel"].item() == pytest.approx(
        torch.nn.functional.l1_loss(model.generator(small), wanted).item(), rel=1e-5
    )


def test_the_weight_of_the_adversarial_loss_is_the_generators_only():
    found = []
    for weight in (1.0, 0.1):
        shown = batch()
        found.append([turn.objective(shown)["loss"].item() for turn in _turns(weight)])
    assert found[0][0] == pytest.approx(found[1][0])
    assert found[0][1] == pytest.approx(10 * found[1][1])


def test_a_loss_that_changes_during_the_training_is_asked_at_the_position():
    turns = esrgan().phases(TopK(share=Schedule(1.0, 0.25, 100)), {})[1].turns
    shown = batch()
    shown.position = 100
    assert all(torch.isfinite(turn.objective(shown)["loss"]) for turn in turns)


def _turns(weight: float) -> Any:
    return esrgan(adversarial_weight=weight).phases(NonSaturating(), {})[1].turns


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_other_channels_are_learned_too(channels: int):
    model = esrgan(channels=channels)
    shown = batch(channels=channels)
    assert torch.isfinite(model.phases(NonSaturating(), {})[0].turns[0].objective(shown)["pixel"])
    for turn in model.phases(NonSaturating(), {})[1].turns:
        assert torch.isfinite(turn.objective(shown)["loss"])


def test_wrong_data_are_refused_with_the_setting():
    one = FieldSpec((3, 32, 32), "uint8", 0, 255, "intensity")
    for data in ({"image": one}, {"source": one, "target": one}):
        with pytest.raises(UsageError, match=r"modality\.layout"):
            ESRGAN(ESRGANConfig(perceptual="edges"), data)
    with pytest.raises(UsageError, match=r"modality\.resolution"):
        esrgan(side=36)
    with pytest.raises(UsageError, match=r"modality\.resolution"):
        esrgan(side=48, discriminator="vgg")


def _trained(parts: int, stop_at: int | None = None, state: Any = None) -> tuple[Trainer, dict[str, torch.Tensor]]:
    """Two iterations of each phase, in `parts` micro-batches."""
    rows = batch(count=8)

    class Rows:
        def __len__(self) -> int:
            return 8

        def take(self, indices: Any) -> Any:
            return {name: values[indices].numpy() for name, values in rows.fields.items()}

    model = esrgan(rounds=1)
    phases = model.phases(NonSaturating(), {})
    phases = [phases[0].__class__("pixels", phases[0].turns, samples=8), phases[1]]
    training = Training(samples=8, batch=4, ema_half_life=100, ema_rampup=0, device="cpu", precision="fp32")
    device = Device(CPU, torch.float32)
    trainer = Trainer(model, model.players(), phases, Rows(), Order([8], 0), training, 0, device)
    trainer.split(parts)
    if state is not None:
        for name, owner in trainer.owners().items():
            owner.load_state_dict(state[name])
    trainer.run(lambda tick: None, lambda: stop_at is not None and trainer.samples >= stop_at)
    return trainer, {name: value.clone() for name, value in model.state_dict().items()}


def test_a_resumed_training_ends_with_the_same_bits():
    """Weights, spectral vectors and averages, when stopped in either phase."""
    import copy

    whole, expected = _trained(1)
    for stop in (4, 12):
        trainer, _ = _trained(1, stop)
        state = {name: copy.deepcopy(owner.state_dict()) for name, owner in trainer.owners().items()}
        again, found = _trained(1, None, state)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        average = again.player_states["generator"].average.state_dict()
        assert all(torch.equal(v, whole.player_states["generator"].average.state_dict()[n]) for n, v in average.items())


def test_micro_batches_learn_the_same_generator():
    """Only the first phase is exact: the discriminator's spectral vectors advance with each part, by design of the
    layer. A value of a degraded image may be rounded to another level."""
    _, whole = _trained(1, 8)
    _, parts = _trained(2, 8)
    for name, value in whole.items():
        if name.startswith("generator"):
            torch.testing.assert_close(parts[name], value, atol=3e-4, rtol=0)


# ---------------------------------------------------------------------- tiles


@pytest.mark.parametrize(("factor", "shape"), [(2, (75, 102)), (4, (41, 64)), (2, (7, 9))])
def test_tiles_give_the_image_that_the_whole_gives(factor: int, shape: tuple[int, int]):
    """With one block everything within 19 pixels of the trunk is seen, so that nothing but rounding differs; sides that
    the network cannot take are completed and cut off."""
    model = esrgan(factor, skip=shape[0] != 41).eval()
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.mul_(10.0)  # to the weights of He, so that tiles differ
    assert isinstance(model, InTiles)
    assert model.generator.skip is (shape[0] != 41)
    source = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)

    def make(window: dict[str, Any]) -> dict[str, Any]:
        given = {name: torch.from_numpy(values[None]) for name, values in window.items()}
        with torch.no_grad():
            return {
                "target": model.generate(1, SeededDraws.of(0, 0, 1, CPU), Request(None, given))["target"][0].numpy()
            }

    tiles = model.tiles(ESRGANOptions(tile=16))
    assert (tiles.side, tiles.reach, tiles.factor) == (16, 19 * 4 // factor, factor)
    tiled = np.concatenate([strip["target"] for strip in in_strips(make, {"source": source}, tiles)], -2)
    whole = np.concatenate(
        [strip["target"] for strip in in_strips(make, {"source": source}, Tiles(512, 0, factor, tiles.multiple))], -2
    )
    assert tiled.shape == (3, shape[0] * factor, shape[1] * factor)
    assert np.abs(tiled.astype(int) - whole).max() <= 1
    without = Tiles(16, 0, factor, tiles.multiple)
    seams = np.concatenate([strip["target"] for strip in in_strips(make, {"source": source}, without)], -2)
    assert shape[0] < 16 or np.abs(seams.astype(int) - whole).max() > 3, "the test sees seams"


def test_tiles_are_halved_when_memory_runs_out():
    sides = []

    def make(window: dict[str, Any]) -> dict[str, Any]:
        sides.append(max(window["source"].shape[-2:]))
        if sides[-1] > 20:
            raise MemoryError
        return window

    source = np.random.default_rng(0).integers(0, 256, (1, 40, 50), np.uint8)
    strips = list(in_strips(make, {"source": source}, Tiles(32, 2, 1, 1)))
    assert np.array_equal(np.concatenate([strip["source"] for strip in strips], -2), source)
    assert max(sides[1:]) <= 20
    with pytest.raises(MemoryError):
        list(in_strips(lambda window: make({"source": np.zeros((1, 99, 99))}), {"source": source}, Tiles(8, 0)))


# ---------------------------------------------------------------------- the modality


def config(**settings: Any) -> ImageConfig:
    return ImageConfig(
        **{"resolution": 16, "layout": "enlarge", "factor": 2, "channels": 3, "fit": "tiles", **settings}
    )


def photograph(path: Path, width: int, height: int, mode: str = "RGB") -> SourceFile:
    channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    pixels = np.random.default_rng(3).integers(0, 256, (height // 4 + 1, width // 4 + 1, channels), np.uint8)
    small = Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels)
    small.resize((width, height), Image.Resampling.BICUBIC).save(path)
    return SourceFile(path.name, path, None, path.stat().st_size)


def test_photographs_are_cut_into_squares_that_are_not_scaled(tmp_path: Path):
    modality = ImageModality(config())
    file = photograph(tmp_path / "a.png", 37, 50)
    samples = list(modality.read(file))
    assert [sample["target"].shape for sample in samples] == [(3, 16, 16)] * 6
    whole = np.asarray(Image.open(tmp_path / "a.png")).transpose(2, 0, 1)
    assert np.array_equal(samples[0]["target"], whole[:, 1:17, 2:18])
    assert np.array_equal(samples[5]["target"], whole[:, 33:49, 18:34])
    expected = Image.fromarray(samples[0]["target"].transpose(1, 2, 0)).resize((8, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(samples[0]["source"], np.asarray(expected).transpose(2, 0, 1))
    with pytest.raises(Exception, match="tile of 16"):
        list(modality.read(photograph(tmp_path / "b.png", 15, 50)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": 1}, "factor of 2 or 4"),
        ({"layout": "single", "fit": "crop"}, "layout enlarge or folders"),
        ({"layout": "side-by-side", "factor": 1}, "fit tiles"),
        ({"resolution": 17}, "divides"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        config(**settings)


def test_old_settings_of_the_modality_are_dumped_as_before():
    assert "factor" not in ImageConfig().model_dump(mode="json")
    assert config().model_dump(mode="json")["factor"] == 2
    assert ImageConfig.model_validate(config().model_dump(mode="json")) == config()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_run_enlarges_images_of_any_size_and_keeps_their_transparency(tmp_path: Path, mode: str):
    modality = ImageModality(config())
    file = photograph(tmp_path / f"{mode}.png", 31, 22, mode)
    given = Given(("source",), any_size=True)
    (row,) = modality.read_given(file, given)
    assert row["source"].shape == (3, 22, 31)
    large = row["source"].repeat(2, 1).repeat(2, 2)
    strips = iter([{"target": large[:, :10]}, {"target": large[:, 10:]}])
    (path,) = modality.write_in_strips(strips, (44, 62), tmp_path / "out", file, given)
    with Image.open(path) as written:
        written.load()
        assert (written.size, written.mode) == ((62, 44), "RGBA" if mode == "RGBA" else "RGB")
        assert np.array_equal(np.asarray(written)[..., :3], large.transpose(1, 2, 0))
        if mode == "RGBA":
            whole = Image.open(tmp_path / "RGBA.png").getchannel("A").resize((62, 44), Image.Resampling.BICUBIC)
            difference = np.abs(np.asarray(written)[..., 3].astype(int) - np.asarray(whole))
            assert difference.max() <= 1, "no seam in the transparency"


# ---------------------------------------------------------------------- end to end


@pytest.mark.parametrize("name", ["esrgan-x2"])
def test_gan_run_and_translate_enlarge_a_folder(tmp_path: Path, cache: Path, name: str):
    plugins = Plugins.installed()
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(4):
        photograph(photos / f"{index}.png", 64, 64)
    values = recipe_values(plugins, "image", named=name)
    values["data"] = {"source": str(photos)}
    values["modality"] |= {"resolution": 32}
    values["model"] |= {"width": 4, "blocks": 1, "growth": 4, "discriminator_width": 4}
    values["phases"] = {"pixels": {"samples": 8}}
    values["training"] |= {"samples": 4, "batch": 4, "watch": "off", "device": "cpu"}
    values["evaluation"] = {"metrics": ["psnr"], "samples": 4, "artefacts": 1}
    result = api.train(values, out=tmp_path / "run", plugins=plugins)
    (psnr,) = result.metrics
    assert "bicubic" in psnr.details
    model = api.load(tmp_path / "run", device="cpu", plugins=plugins)
    photograph(photos / "odd.png", 45, 37)
    enlarged = model.translate(photos / "odd.png", options={"tile": 16})["target"]
    assert enlarged.shape == (1, 3, 74, 90)
    again = model.translate(photos / "odd.png")["target"]
    assert np.abs(enlarged.astype(int) - again).max() <= 1
