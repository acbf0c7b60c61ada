"""Density and register: what they are, how networks hear them, and that asking for them reaches the notes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.contracts import FieldSpec, Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import NonSaturating
from gan.penalties import R1, GradientPenalty
from gan_music.architectures.bmusegan import BMuseGAN, BMuseGANConfig
from gan_music.architectures.conditioning import ConditionEmbedding, Count, counting, soft_onset_count
from gan_music.architectures.framegan import FrameGAN, FrameGANConfig
from gan_music.architectures.musegan import MuseGAN, MuseGANConfig
from gan_music.attributes import density, parse_pitch, register
from gan_music.config import MusicConfig
from gan_music.metrics.statistics import MusicStatistics
from gan_music.modality import Music

CPU = torch.device("cpu")
SHAPE = (3, 2, 24, 12)
FIELDS = {
    "roll": FieldSpec(SHAPE, "bool", 0, 1, "note on"),
    "density": FieldSpec((), "float32", 4, 20, "notes a bar", condition=True),
    "register": FieldSpec((), "float32", 50, 70, "mean pitch", condition=True),
}


def music(**changes) -> Music:
    tracks = {"drums": ["drums"], "piano": ["0-7"]}
    return Music(
        MusicConfig(**{"tracks": tracks, "steps_per_beat": 2, "lowest": 36, "pitches": 48, "bars": 2, **changes})
    )


def test_density_counts_beginnings_and_every_hit():
    """A note held over the bar line is one, two hits on consecutive steps are two: (1 + 1 + 2) / 2 bars."""
    roll = np.zeros((2, 2, 8, 48), bool)
    roll[1, 0, 5:, 20] = True
    roll[1, 1, :3, 20] = True
    roll[1, 1, 6, 30] = True
    roll[0, 0, 2:4, 5] = True
    assert density(roll, music().grid) == 2.0


def test_register_is_the_mean_pitch_of_what_sounds():
    roll = np.zeros((2, 2, 8, 48), bool)
    assert register(roll, music().grid) == 36 + 23.5
    roll[0, 0, 0, 47] = True  # drums have none
    roll[1, 0, :3, 24] = True  # C4 for three steps
    roll[1, 0, 3, 28] = True  # E4 for one
    assert register(roll, music().grid) == 61.0


def test_phrases_come_with_their_attributes(tmp_path):
    modality = music(attributes=["register", "density"], transpose=[0, 5])
    assert list(modality.fields) == ["roll", "register", "density"]
    assert all(modality.fields[name].condition for name in ("register", "density"))
    assert list(music().fields) == ["roll"]
    roll = np.zeros((2, 2, 8, 48), bool)
    roll[1, :, ::2, 24] = True
    path = modality.write({"roll": roll}, tmp_path / "x")
    from gan.source import SourceFile

    first, second = modality.read(SourceFile("x.mid", path, None, path.stat().st_size))
    assert (first["density"], first["register"]) == (4.0, 60.0)
    assert (second["density"], second["register"]) == (4.0, 65.0)
    assert first["density"].dtype == np.float32
    assert first["density"].shape == ()


@pytest.mark.parametrize(
    ("text", "pitch"),
    [("60", 60), ("62.5", 62.5), ("C4", 60), ("a4", 69), ("Bb3", 58), ("F#-1", 6), ("B#3", 60), ("Cb4", 59)],
)
def test_pitches_are_numbers_or_notes(text, pitch):
    assert parse_pitch(text) == pitch
    assert music(attributes=["register"]).read_condition("register", text) == pitch


def test_what_is_no_pitch_is_told():
    with pytest.raises(ValueError, match="'H4' is not a pitch; write a MIDI number"):
        music(attributes=["register"]).read_condition("register", "H4")
    with pytest.raises(ValueError, match="'C4' is no number"):
        music(attributes=["density"]).read_condition("density", "C4")


def test_told_hears_the_place_in_the_range_of_the_data():
    """sin and cos of 2^k π c with c = (12 - 4) / 16 = 1/2 and (50 - 50) / 20 = 0; outside of the range is its end."""
    told = ConditionEmbedding({name: FIELDS[name] for name in ("density", "register")}, 3)
    seen = []
    told.linear.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    told(torch.tensor([[12.0, 50.0], [99.0, 0.0]]))
    waves = seen[0].view(2, 2, 6)
    angles = np.pi * 0.5 * 2.0 ** np.arange(3)
    assert torch.allclose(waves[0, 0], torch.tensor([*np.sin(angles), *np.cos(angles)]).float(), atol=1e-5)
    assert waves[0, 1].tolist() == [0.0] * 3 + [1.0] * 3
    edge = np.pi * 2.0 ** np.arange(3)
    assert torch.allclose(waves[1, 0], torch.tensor([*np.sin(edge), *np.cos(edge)]).float(), atol=1e-4)


@pytest.mark.parametrize(("how", "drums"), [("threshold", 2.0), ("hysteresis", 1.0)])
def test_the_critic_counts_what_would_be_played(how, drums):
    """A note over the bar line is one, one that is struck again after a rest two. A probability of 0.9, 0.3, 0.6 is two
    notes above one half and by hysteresis a held one; gradients say which way all of them would count."""
    roll = -torch.ones(1, 2, 2, 4, 3)
    roll[0, 1, 0, 2:, 1] = roll[0, 1, 1, :2, 1] = 1
    roll[0, 1, 1, 3, 1] = 1
    roll[0, 0, 0, :3, 0] = 2 * torch.tensor([0.9, 0.3, 0.6]) - 1
    roll.requires_grad_()
    assert (4 * soft_onset_count(roll, how)).tolist() == [[[drums, 1.0], [0.0, 1.0]]]
    soft_onset_count(roll, how).sum().backward()
    assert roll.grad[0, 0, 0, :, 0].tolist() == [1 / 8, -1 / 8, 1 / 8, 0]  # from -1 to 1 is a note, over 4
    assert roll.grad[0, 1, 0, 2:, 1].tolist() == [1 / 8, 0]  # to hold a note longer is no note more


def test_the_critic_hears_how_far_the_notes_are_from_what_was_asked():
    """Two bars with 9 and 11 notes of half the tracks where 18 a bar are asked for: 2 more, in fifths of a range of
    16, bounded."""
    count = Count({name: FIELDS[name] for name in ("register", "density")}, 0.5)
    seen = []
    count.error.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    count(torch.tensor([[60.0, 18.0]]), torch.tensor([[[9 / 4], [11 / 4]]]))
    assert seen[0].item() == pytest.approx(np.tanh(2 / 3.2))
    assert counting({"register": FIELDS["register"]}) is None


DENSE = {**FIELDS, "density": FieldSpec((), "float32", 0, 120, "notes a bar", condition=True)}
"""As dense as the noise that stands for phrases below."""


def models():
    torch.manual_seed(0)
    yield FrameGAN(FrameGANConfig(width=16, latent=8, initial_density=0.3), DENSE)
    yield FrameGAN(FrameGANConfig(width=16, latent=8, initial_density=0.3, given=[1]), DENSE)
    for composition in ("composer", "jamming", "hybrid"):
        yield MuseGAN(MuseGANConfig(width=32, latent=8, initial_density=0.3, composition=composition), DENSE)
    yield BMuseGAN(BMuseGANConfig(width=32, latent=8, initial_density=0.3, refiner_width=2, critic_repeats=1), DENSE)


def batch(count: int = 4) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "roll": torch.rand(count, *SHAPE) < 0.1,
        "density": torch.linspace(4, 20, count),
        "register": torch.linspace(52, 69, count),
    }


@pytest.mark.parametrize("number", range(6))
def test_every_turn_teaches_both_players_to_hear(number):
    net = list(models())[number]
    players = net.players()
    penalties = {"r1": R1()} if isinstance(net, FrameGAN) else {"gp": GradientPenalty()}
    for phase in net.phases(NonSaturating(), penalties):
        shared: dict = {}
        for turn in phase.turns:
            net.zero_grad()
            terms = turn.objective(Batch(batch(), StepDraws(1, 4, 0, 4, CPU), 0, 0.5, shared))
            sum(value for name, value in terms.items() if not name.startswith("_")).backward()
            own = players[turn.player].named_parameters()
            hearing = [(n, p) for n, p in own if "told" in n or "count" in n]
            assert hearing or turn.player == "refiner"
            for name, parameter in hearing:
                assert parameter.grad is not None, (turn.player, name)
                assert parameter.grad.abs().max() > 0, (turn.player, name)


@pytest.mark.parametrize("number", range(6))
def test_what_is_asked_for_reaches_the_notes_row_by_row(number):
    net = list(models())[number].eval()
    names = net.given_fields()
    assert names[-2:] == ("density", "register")
    given = {name: values for name, values in batch().items() if name in names}
    drawn = net.Options(sounding=0.1)
    made = net.generate(4, SeededDraws.of(0, 0, 4, CPU), Request(drawn, given))["roll"]
    other = {**given, "density": given["density"].flip(0)}
    assert not torch.equal(net.generate(4, SeededDraws.of(0, 0, 4, CPU), Request(drawn, other))["roll"], made)
    one = {name: values[2:3] for name, values in given.items()}
    alone = net.generate(1, SeededDraws.of(0, 2, 1, CPU), Request(drawn, one))["roll"]
    assert (alone != made[2:3]).float().mean() < 0.01
    with pytest.raises(UsageError, match="the model needs the register|tracks to accompany"):
        net.generate(
            4, SeededDraws.of(0, 0, 4, CPU), Request(given={"density": given["density"], "roll": batch()["roll"]})
        )


def test_networks_without_attributes_are_as_before():
    plain = MuseGAN(MuseGANConfig(width=32, latent=8), {"roll": FIELDS["roll"]})
    assert plain.given_fields() == ()
    assert not any("told" in name for name in plain.state_dict())


def test_the_table_says_how_well_asked_values_are_followed():
    """Rank correlation of asked and measured: 1 where they are equal, -1 where the asked ones are turned around; none
    for samples that were not told."""
    modality = music(attributes=["density"])
    rolls = np.zeros((10, 2, 2, 8, 48), bool)
    for number in range(10):
        rolls[number, 1].reshape(16, 48)[np.arange(number + 1), 10 + np.arange(number + 1) % 2 * 5] = True
    asked = np.array([density(roll, modality.grid) for roll in rolls], np.float32)
    for sign, wanted in ((1, 1.0), (-1, -1.0)):
        values = MusicStatistics().compute({"roll": rolls, "density": sign * asked}, {"roll": rolls}, modality)
        (found,) = [value for value in values if value.name == "follows/density"]
        assert found.value == pytest.approx(wanted)
        assert found.direction == "higher"
    assert not any(
        v.name.startswith("follows") for v in MusicStatistics().compute({"roll": rolls}, {"roll": rolls}, music())
    )
