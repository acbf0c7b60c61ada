"""3D-GAN: published sizes, classes, the gate, samples that depend on nothing but their seed."""

from __future__ import annotations

import pytest
import torch
from gan.contracts import Architecture, ConditionalOnInput, FieldSpec, Request, Settles, SmoothLatentSpace
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.generation.settling import settle
from gan.losses import NonSaturating
from gan_3d.architectures.voxelgan import VoxelGAN, VoxelGANConfig, VoxelGANOptions
from torch import nn

CPU = torch.device("cpu")


def fields(side: int, classes: int = 0) -> dict[str, FieldSpec]:
    found = {"voxels": FieldSpec((side,) * 3, "bool", 0, 1, "occupied")}
    if classes:
        found["label"] = FieldSpec((), "int64", 0, classes - 1, "class index", condition=True)
    return found


def size(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def small(side: int = 8, classes: int = 0, **settings) -> VoxelGAN:
    torch.manual_seed(0)
    values = {"latent": 6, "generator_width": 4, "discriminator_width": 4, **settings}
    return VoxelGAN(VoxelGANConfig(**values), fields(side, classes))


def test_the_published_sizes():
    model = VoxelGAN(VoxelGANConfig(discriminator_norm="batch"), fields(64))
    assert size(model.generator) == 17_569_664
    assert size(model.features, model.score) == 11_048_704
    stable = VoxelGAN(VoxelGANConfig(), fields(64))
    assert size(stable.features, stable.score) == 11_048_704 - 2 * (128 + 256 + 512)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)]
    assert all(layer.bias is None for layer in convolutions)
    assert [m.out_channels for m in model.generator if isinstance(m, nn.ConvTranspose3d)] == [512, 256, 128, 64, 1]


@pytest.mark.parametrize("side", [8, 16, 32, 64])
def test_resolutions_drop_stages(side):
    model = small(side, generator_width=1, discriminator_width=1).eval()
    grids = model.generate(2, SeededDraws.of(0, 0, 2, CPU), Request())["voxels"]
    assert grids.shape == (2, side, side, side)
    assert grids.dtype == torch.bool
    assert model.critic(model.volumes({"voxels": grids})).shape == (2,)


@pytest.mark.parametrize("side", [4, 20, 48])
def test_other_resolutions_are_refused_with_the_setting(side):
    with pytest.raises(UsageError, match=r"modality\.resolution"):
        small(side)


def test_classes_change_the_sample_and_the_score():
    model = small(8, classes=3).eval()
    assert isinstance(model, Architecture)
    assert isinstance(model, ConditionalOnInput)
    assert isinstance(model, SmoothLatentSpace)
    assert model.given_fields() == ("label",)
    latents = model.latents(1, SeededDraws.of(0, 0, 1, CPU)).repeat(3, 1)
    request = Request(given={"label": torch.arange(3)})
    with torch.no_grad():
        grids = model.decode_smooth(latents, request)["voxels"]
        assert ((grids[0] - grids[1]).abs().max() > 1e-4) & ((grids[1] - grids[2]).abs().max() > 1e-4)
        model.projection.weight.normal_()
        scores = model.critic(grids[:1, None].repeat(3, 1, 1, 1, 1), torch.arange(3))
    assert len(set(scores.tolist())) == 3
    with pytest.raises(UsageError, match="label"):
        model.generate(1, SeededDraws.of(0, 0, 1, CPU), Request())
    assert small(8).given_fields() == ()


def test_samples_depend_on_their_own_seed_only():
    model = small(16).eval()
    with torch.no_grad():
        eight = model.decode_smooth(model.latents(8, SeededDraws.of(3, 0, 8, CPU)), Request())["voxels"]
        last = model.decode_smooth(model.latents(1, SeededDraws.of(3, 7, 1, CPU)), Request())["voxels"]
    assert (eight[7] - last[0]).abs().max() < 1e-5
    assert (eight[0] - eight[7]).abs().max() > 1e-4


def test_threshold_symmetry_and_the_uniform_prior():
    model = small(8).eval()
    draws = SeededDraws.of(0, 0, 4, CPU)
    latents = model.latents(4, draws)
    with torch.no_grad():
        low, high = (
            model.decode(latents, Request(options=VoxelGANOptions(threshold=threshold)))["voxels"].sum()
            for threshold in (0.4, 0.6)
        )
        mirrored = model.decode(latents, Request(options=VoxelGANOptions(symmetric=True)))["voxels"]
    assert low > high
    assert (mirrored == mirrored.flip(1)).all()
    uniform = small(8, prior="uniform").latents(200, SeededDraws.of(0, 0, 200, CPU))
    assert 0 <= uniform.min() < 0.05
    assert 0.95 < uniform.max() < 1


def test_averaged_weights_get_statistics_of_their_own():
    model = small(8, classes=3).eval()
    assert isinstance(model, Settles)
    norm = next(m for m in model.generator if isinstance(m, nn.BatchNorm3d))
    norm.running_mean.fill_(9.0)
    settle(model, CPU)
    assert norm.running_mean.abs().max() < 2
    assert not norm.training


def batch(count: int = 4, side: int = 8) -> Batch:
    real = torch.zeros(count, side, side, side, dtype=torch.bool)
    real[:, 2:5] = True
    return Batch({"voxels": real}, StepDraws(0, count, 0, count, CPU), 0, 0.0)


def test_the_gate_holds_the_discriminator_while_it_was_right_on_the_last_batch():
    model = small(8, gate=0.8, critic_repeats=1)
    (phase,) = model.phases(NonSaturating(), {})
    turn = phase.turns[0]
    now = batch()
    terms = turn.objective(now)
    right = now.observed["right"] / now.observed["seen"]
    assert now.observed["seen"] == 8
    assert terms["_accuracy"] == right
    assert turn.when(now)  # nothing has been classified before
    turn.learn({"right": torch.tensor(6.0), "seen": torch.tensor(8.0)}, now.rng)
    assert turn.when(now)
    turn.learn({"right": torch.tensor(7.0), "seen": torch.tensor(8.0)}, now.rng)
    assert not turn.when(now)
    assert model.state_dict()["accuracy"] == 0.875
    assert small(8, critic_repeats=1).phases(NonSaturating(), {})[0].turns[0].when is None


def test_the_gate_counts_real_above_and_fake_below_zero():
    model = small(8, gate=0.8, critic_repeats=1)
    nn.init.zeros_(model.score.weight)
    now = batch()
    model.phases(NonSaturating(), {})[0].turns[0].objective(now)
    assert now.observed["right"] == 0
    model.critic = lambda samples, labels=None: 10 * (samples.mean((1, 2, 3, 4)) - 0.375) + 1e-3
    model.generator.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    now = batch()
    model.phases(NonSaturating(), {})[0].turns[0].objective(now)
    assert now.observed["right"] == 8


@pytest.mark.parametrize("repeats", [1, 5])
def test_turns(repeats):
    model = small(8, critic_repeats=repeats)
    (phase,) = model.phases(NonSaturating(), {})
    assert [(turn.player, turn.repeats) for turn in phase.turns] == [("discriminator", repeats), ("generator", 1)]
    names = {name: {id(p) for _, p in player.named_parameters()} for name, player in model.players().items()}
    assert not names["generator"] & names["discriminator"]
    assert sum(map(len, names.values())) == len(list(model.parameters()))
