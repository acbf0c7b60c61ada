"""The other architectures: accompaniment, the temporal model, binary neurons, the transformer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.contracts import ConditionalOnInput, FieldSpec, Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import Wasserstein
from gan.penalties import GradientPenalty
from gan_music.architectures.accompaniment import Accompaniment, AccompanimentConfig
from gan_music.architectures.bmusegan import BMuseGAN, BMuseGANConfig
from gan_music.architectures.musictransformer import (
    Events,
    MusicTransformer,
    TransformerConfig,
    TransformerOptions,
    choose,
)
from gan_music.architectures.neurons import binarise, binary
from gan_music.architectures.temporal import BarGenerator, PhraseGenerator, TemporalConfig, TemporalMuseGAN, halvings
from torch import nn

CPU = torch.device("cpu")
SMALL = (3, 2, 16, 48)


def fields(shape=SMALL) -> dict[str, FieldSpec]:
    return {"roll": FieldSpec(shape, "bool", 0, 1, "note on")}


def rng(count: int = 2, seed: int = 0) -> SeededDraws:
    return SeededDraws.of(seed, 0, count, CPU)


def batch(count: int = 4, progress: float = 0.0) -> Batch:
    torch.manual_seed(1)
    return Batch({"roll": torch.rand(count, *SMALL) < 0.1}, StepDraws(1, count, 0, count, CPU), 0, progress)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def play(model, phase) -> None:
    """Every turn gives finite gradients to all parameters of its player."""
    players = model.players()
    now = batch()
    for turn in phase.turns:
        model.zero_grad()
        terms = turn.objective(now)
        sum(value for name, value in terms.items() if not name.startswith("_")).backward()
        for name, parameter in players[turn.player].named_parameters():
            assert parameter.grad is not None, (turn.player, name)
            assert parameter.grad.isfinite().all()


# accompaniment


@pytest.mark.parametrize("given", [[0], [1], [2, 0]])
def test_given_tracks_stay_as_they_are(given):
    torch.manual_seed(0)
    model = Accompaniment(AccompanimentConfig(width=32, latent=8, given=given, initial_density=0.3), fields()).eval()
    assert isinstance(model, ConditionalOnInput)
    roll = torch.rand(2, *SMALL) < 0.1
    made = model.generate(2, rng(), Request(given={"roll": roll}))["roll"]
    others = [track for track in range(3) if track not in given]
    assert torch.equal(made[:, given], roll[:, given])
    hidden = roll.clone()
    hidden[:, others] = ~hidden[:, others]  # the other tracks of the input are not looked at
    assert torch.equal(made, model.generate(2, rng(), Request(given={"roll": hidden}))["roll"])


@torch.no_grad()
def test_accompaniment_hears_the_given_track():
    torch.manual_seed(0)
    model = Accompaniment(AccompanimentConfig(width=32, latent=8), fields())
    latents = model.latents(4, rng(4))
    one, other = (torch.randn(4, 1, *SMALL[1:]) for _ in range(2))
    heard = model.generator(latents, one)
    assert float((heard - model.generator(latents, other)).abs().mean()) > 0.01
    assert float((heard - model.generator(latents.flip(0), one)).abs().mean()) > 0.01


def test_accompaniment_plays():
    model = Accompaniment(AccompanimentConfig(width=32, latent=8), fields())
    (phase,) = model.phases(Wasserstein(), {"gradient-penalty": GradientPenalty()})
    play(model, phase)


def test_accompaniment_of_impossible_tracks():
    with pytest.raises(UsageError, match="0 to 2"):
        Accompaniment(AccompanimentConfig(given=[3]), fields())
    with pytest.raises(UsageError, match="none is left"):
        Accompaniment(AccompanimentConfig(given=[0, 1, 2]), fields())


# the temporal model


def test_parameters_of_the_first_release():
    """Counted from the first release's source: bar generators for one track and five, phrase generators for 32 and
    64."""
    assert count(BarGenerator(96, 84, 128, 1, 1024)) == 1_228_481
    assert count(BarGenerator(96, 84, 128, 5, 1024)) == 1_231_557
    assert count(PhraseGenerator(4, 32, 1024)) == 167_008
    assert count(PhraseGenerator(4, 64, 1024)) == 330_944


def test_halvings():
    assert [halvings(n) for n in (96, 48, 16, 36, 24, 7, 2)] == [(5, 3), (4, 3), (3, 2), (2, 9), (3, 3), (0, 7), (0, 2)]


@pytest.mark.parametrize("composition", ["composer", "jamming", "hybrid"])
@pytest.mark.parametrize("shape", [SMALL, (5, 4, 96, 84), (2, 1, 12, 12), (3, 8, 36, 60)])
def test_temporal_shapes(composition, shape):
    model = TemporalMuseGAN(TemporalConfig(composition=composition, width=32, latent=16), fields(shape)).eval()
    assert model.generate(2, rng(), Request())["roll"].shape == (2, *shape)
    seen = 1 if composition == "jamming" else shape[0]
    assert model.critics[0](torch.zeros(2, seen, *shape[1:])).shape == (2,)


@pytest.mark.parametrize("composition", ["composer", "jamming", "hybrid"])
def test_temporal_plays(composition):
    model = TemporalMuseGAN(TemporalConfig(composition=composition, width=32, latent=16), fields())
    (phase,) = model.phases(Wasserstein(), {"gradient-penalty": GradientPenalty()})
    play(model, phase)


def test_what_the_latents_of_the_temporal_model_move():
    """Track 1's own vectors move track 1 alone; the shared ones move all."""
    torch.manual_seed(0)
    model = TemporalMuseGAN(TemporalConfig(width=32, latent=16), fields())
    latents = model.latents(4, rng(4))
    before = model.compose(latents)
    own, shared = latents.clone(), latents.clone()
    own[:, 2] = own[:, 2].flip(0)
    shared[:, 0] = shared[:, 0].flip(0)
    moved = [(model.compose(changed) - before).abs().amax((0, 2, 3, 4)) > 1e-3 for changed in (own, shared)]
    assert moved[0].tolist() == [False, True, False]
    assert moved[1].tolist() == [True, True, True]


def test_the_phrase_critic_keeps_bars_apart():
    """Changing one bar changes the features of that bar alone, which the released reshape does not keep."""
    torch.manual_seed(0)
    model = TemporalMuseGAN(TemporalConfig(width=32, latent=16), fields((2, 4, 16, 48)))
    critic = model.critics[0]
    heard = []
    critic.of_bar.register_forward_hook(lambda module, inputs, output: heard.append(output.view(1, 4, -1)))
    roll = -torch.ones(1, 2, 4, 16, 48)
    critic(roll)
    roll[:, :, 2, 5, 7] = 1
    critic(roll)
    assert ((heard[1] - heard[0]).abs().amax((0, 2)) > 0).tolist() == [False, False, True, False]


# binary neurons


def test_hysteresis_keeps_a_note_whole_and_drops_what_is_nowhere_sure():
    """By hand, one track, two bars of four steps, two pitches: a wavering note over the bar line stays one note from
    0.3 to 0.3, a second one that never exceeds 0.8 is left out, and silence parts notes."""
    probability = torch.tensor(
        [
            [0.1, 0.3, 0.7, 0.3, 0.9, 0.3, 0.1, 0.85],
            [0.7, 0.7, 0.1, 0.3, 0.1, 0.9, 0.9, 0.15],
        ]
    )
    logits = torch.logit(probability).T.reshape(1, 1, 2, 4, 2) / 2
    found = binarise(logits, "hysteresis", None, torch.zeros(1, 1))
    assert found.flatten(0, 3).T.int().tolist() == [[0, 1, 1, 1, 1, 1, 0, 1], [0, 0, 0, 0, 0, 1, 1, 0]]


def test_binary_neurons():
    """Forward 0 or 1, backward the derivative of the sigmoid of that slope, s·σ(1 - σ)."""
    values = torch.tensor([-2.0, -0.1, 0.1, 2.0], requires_grad=True)
    fired = binary(values, 3.0, None)
    assert fired.round().tolist() == [0, 0, 1, 1]
    fired.sum().backward()
    sigmoid = torch.sigmoid(3 * values.detach())
    torch.testing.assert_close(values.grad, 3 * sigmoid * (1 - sigmoid))
    noise = torch.rand(4, 20_000, generator=torch.Generator().manual_seed(0))
    share = binary(values.detach()[:, None].expand(-1, 20_000), 3.0, noise).mean(1)
    torch.testing.assert_close(share, sigmoid, atol=0.01, rtol=0)


@pytest.mark.parametrize("neuron", ["deterministic", "stochastic"])
@pytest.mark.parametrize("composition", ["composer", "jamming", "hybrid"])
def test_two_stages(neuron, composition):
    torch.manual_seed(0)
    config = BMuseGANConfig(width=32, latent=8, neuron=neuron, composition=composition, refiner_width=2)
    model = BMuseGAN(config, fields())
    pretraining, refining = model.phases(Wasserstein(), {"gradient-penalty": GradientPenalty()})
    assert pretraining.samples == 200_000
    assert [turn.player for turn in pretraining.turns] == ["discriminator", "generator"]
    assert [turn.player for turn in refining.turns] == ["discriminator", "refiner"]
    play(model, pretraining)
    assert not model.refined
    play(model, refining)
    assert model.refined
    fed = refining.turns[0].objective(batch(progress=0.5))
    assert fed["loss"].isfinite()
    assert model.slope_now == pytest.approx(3.0)
    model.eval()
    eight = model.generate(8, SeededDraws.of(3, 0, 8, CPU), Request())["roll"]
    two = model.generate(2, SeededDraws.of(3, 6, 2, CPU), Request())["roll"]
    assert torch.equal(eight[6:], two)


def test_joint_training_and_no_refiner():
    joint = BMuseGAN(BMuseGANConfig(width=32, latent=8, refiner_width=2, joint=True), fields())
    assert [t.player for t in joint.phases(Wasserstein(), {})[1].turns] == ["discriminator", "generator", "refiner"]
    plain = BMuseGAN(BMuseGANConfig(width=32, latent=8, refiner=False, pretraining_samples=0), fields())
    (only,) = plain.phases(Wasserstein(), {"gradient-penalty": GradientPenalty()})
    play(plain, only)
    with pytest.raises(ValueError, match="joint"):
        BMuseGANConfig(refiner=False)


# the transformer


@pytest.mark.parametrize("density", [0.0, 0.002, 0.05])
def test_events_of_a_roll_are_the_roll(density):
    events = Events(SMALL)
    roll = np.random.default_rng(1).random(SMALL) < density
    tokens = events.encode(roll)
    assert tokens[0] == events.BEGIN
    assert tokens[-1] == events.END
    assert max(tokens) < events.count
    assert np.array_equal(events.decode(tokens), roll)
    kinds = [events.kinds[token] for token in tokens]
    assert all(events.allowed[kind][token] for kind, token in zip(kinds, tokens[1:]))


def test_events_by_hand():
    events = Events((1, 2, 4, 12))
    roll = np.zeros((1, 2, 4, 12), bool)
    roll[0, 0, 3, 5] = roll[0, 1, 0, 5] = True  # one note over the bar line
    assert events.encode(roll) == [1, 2, 3 + 3, 7 + 5, 7 + 12 + 1, 0]


def test_the_transformer_does_not_see_ahead():
    torch.manual_seed(0)
    model = MusicTransformer(TransformerConfig(width=16, layers=2, heads=2, dropout=0), fields()).eval()
    tokens = torch.randint(0, model.events.count, (2, 12))
    scores, _ = model.network(tokens)
    changed = tokens.clone()
    changed[:, 8] = (changed[:, 8] + 1) % model.events.count
    again, _ = model.network(changed)
    assert torch.allclose(scores[:, :8], again[:, :8], atol=1e-6)
    assert not torch.allclose(scores[:, 8:], again[:, 8:])
    first, past = model.network(tokens[:, :1])
    parts = [first]
    for step in range(1, 12):
        one, past = model.network(tokens[:, step : step + 1], past)
        parts.append(one)
    torch.testing.assert_close(torch.cat(parts, 1), scores, atol=1e-5, rtol=1e-4)


def test_the_transformer_learns_a_phrase():
    """One phrase again and again: after some steps its likelihood is high, and samples are that phrase."""
    torch.manual_seed(0)
    model = MusicTransformer(TransformerConfig(width=32, layers=1, heads=2, context=64, dropout=0), fields())
    roll = torch.zeros(4, *SMALL, dtype=torch.bool)
    roll[:, 0, 0, 0:4, 20] = roll[:, 1, 0, 4:8, 25] = roll[:, 2, 1, 0:2, 30] = True
    (phase,) = model.phases(Wasserstein(), {})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = phase.turns[0].objective(Batch({"roll": roll}, StepDraws(1, 4, 0, 4, CPU), 0, 0.0))["loss"]
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1
    model.eval()
    with torch.no_grad():
        made = model.generate(3, rng(3), Request(TransformerOptions(temperature=0.2)))["roll"]
    assert torch.equal(made, roll[:3])


def test_untrained_transformer_writes_valid_phrases():
    torch.manual_seed(0)
    model = MusicTransformer(TransformerConfig(width=16, layers=1, heads=2, context=64), fields()).eval()
    with torch.no_grad():
        made = model.generate(4, rng(4), Request())["roll"]
    assert made.shape == (4, *SMALL)
    assert made.dtype == torch.bool


def test_choosing_tokens():
    probability = torch.tensor([[0.1, 0.6, 0.3]]).repeat(4, 1)
    chance = torch.tensor([0.0, 0.59, 0.61, 0.95])
    assert choose(probability, chance, 1.0).tolist() == [1, 1, 2, 0]
    assert choose(probability, torch.tensor([0.0, 0.6, 0.7, 0.999]), 0.7).tolist() == [1, 1, 2, 2]
    assert choose(probability, torch.ones(4) - 1e-7, 0.5).tolist() == [1] * 4
