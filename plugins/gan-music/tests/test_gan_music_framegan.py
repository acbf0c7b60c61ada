"""FrameGAN: MuseGAN's game with layers over time, gates and binary neurons."""

from __future__ import annotations

import math
from itertools import pairwise, product

import pytest
import torch
from gan.contracts import ConditionalOnInput, FieldSpec, Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import NonSaturating
from gan.penalties import R1
from gan_music.architectures.framegan import FrameGAN, FrameGANConfig, Over, frames_of, soft_rhythm, spread
from gan_music.architectures.neurons import SILENCE, of_one_voice, one_line
from torch.nn.functional import conv1d

CPU = torch.device("cpu")
SHAPE = (3, 2, 24, 12)


def model(onsets: bool = False, **settings) -> FrameGAN:
    torch.manual_seed(0)
    roll = FieldSpec(SHAPE, "bool", 0, 1, "note on")
    fields = {"roll": roll, "onset": roll} if onsets else {"roll": roll}
    return FrameGAN(FrameGANConfig(width=16, latent=8, **settings), fields)


def rng(count: int) -> SeededDraws:
    return SeededDraws.of(0, 0, count, CPU)


@pytest.mark.parametrize("neuron", ["none", "deterministic", "stochastic"])
@pytest.mark.parametrize("given", [[], [1], [2, 0], "any"])
@pytest.mark.parametrize("group", [0, 4])
@pytest.mark.parametrize("onsets", [False, True])
def test_every_turn_teaches_all_of_its_player(given, neuron, group, onsets):
    net = model(onsets, given=given, neuron=neuron, initial_density=0.3, minibatch_std=group, rhythm=bool(group))
    players = net.players()
    torch.manual_seed(1)
    roll = torch.rand(4, *SHAPE) < 0.1
    batch = Batch({"roll": roll, "onset": roll & (torch.rand(roll.shape) < 0.5)}, StepDraws(1, 4, 0, 4, CPU), 0, 0.0)
    for turn in net.phases(NonSaturating(), {"r1": R1()})[0].turns:
        net.zero_grad()
        terms = turn.objective(batch)
        sum(value for name, value in terms.items() if not name.startswith("_")).backward()
        for name, parameter in players[turn.player].named_parameters():
            assert parameter.grad is not None, (turn.player, name)
            assert parameter.grad.isfinite().all()
            assert parameter.grad.abs().max() > 0, (turn.player, name)


@pytest.mark.parametrize("how", ["threshold", "bernoulli", "hysteresis"])
@pytest.mark.parametrize("sounding", [None, 0.2])
def test_a_voice_sings_one_note_at_a_time(how, sounding):
    """Named tracks never sound two notes, by construction; the other track does."""
    net = model(monophonic=[0, "2"], initial_density=0.4).eval()
    for output in net.generator.outputs[1:]:
        torch.nn.init.normal_(output.weight, std=0.5)
    request = Request(options=FrameGAN.Options(binarisation=how, sounding=sounding))
    notes = net.generate(32, rng(32), request)["roll"].sum(4)
    assert notes[:, [0, 2]].max() == 1
    assert notes[:, [0, 2]].float().mean() > 0.05
    assert notes[:, 1].max() > 2
    alone = net.generate(1, SeededDraws.of(0, 3, 1, CPU), request)["roll"].sum(4)
    assert torch.equal(alone[0], notes[3])


def test_all_tracks_may_be_voices_and_other_names_are_refused():
    assert model(monophonic="all", given=[1]).is_voice.flatten().tolist() == [True, True]
    assert model(monophonic=["1"], given="any").is_voice.flatten().tolist() == [False, True, False]
    with pytest.raises(UsageError, match="model.monophonic names no track 'oboe'"):
        model(monophonic=["oboe"])


def test_a_voice_has_the_probabilities_of_its_notes_given_that_at_most_one_sounds():
    """With less of silence: two notes of which neither is sure are a note, and hardly any is silence."""
    notes = torch.tensor([0.5, 0.2, 0.9])
    silent = (1 - notes).prod()
    alone = torch.stack([silent * p / (1 - p) for p in notes])
    assert torch.allclose(of_one_voice(notes), alone / (SILENCE * silent + alone.sum()), atol=1e-6)
    assert of_one_voice(torch.tensor([0.3, 0.25, 0.0])).sum() > 0.9
    assert of_one_voice(torch.tensor([0.005, 0.01, 0.0])).sum() < 0.5
    assert of_one_voice(torch.ones(3)).sum().item() == pytest.approx(1, abs=1e-5)


def test_a_line_changes_only_for_what_is_much_more_probable():
    """Against all sequences of states of a small voice."""
    torch.manual_seed(0)
    probabilities = torch.rand(5, 1, 1, 5, 2).softmax(-1) * torch.rand(5, 1, 1, 5, 1)
    found = one_line(probabilities, "hysteresis", torch.zeros(5, 1)).flatten(1, 3)
    logs = torch.cat([probabilities, 1 - probabilities.sum(-1, keepdim=True)], -1).log().flatten(1, 3)
    for row in range(5):
        score = {
            path: sum(logs[row, step, state].item() for step, state in enumerate(path))
            - math.log(4) * sum(a != b for a, b in pairwise(path))
            for path in product(range(3), repeat=5)
        }
        best = max(score, key=score.get)
        assert found[row].tolist() == [[state == 0, state == 1] for state in best]


def test_binary_neurons_show_the_critic_only_notes():
    for neuron, binary in (("none", False), ("deterministic", True), ("stochastic", True)):
        net, seen = model(neuron=neuron, initial_density=0.3), []
        net.critic.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        batch = Batch({"roll": torch.zeros(4, *SHAPE, dtype=torch.bool)}, StepDraws(1, 4, 0, 4, CPU), 0, 0.0)
        net.phases(NonSaturating(), {})[0].turns[0].objective(batch)
        fake = seen[1]
        assert torch.allclose(fake.abs(), torch.ones(()), atol=1e-6) == binary, neuron


def test_convolution_over_time_is_a_convolution():
    over = Over(5, 7)
    cells = torch.randn(2, 9, 5)
    weight = over.linear.weight.unflatten(0, (3, 7)).permute(1, 2, 0)  # (out, in, before · here · after)
    wanted = conv1d(cells.mT, weight, over.bias, padding=1).mT
    assert torch.allclose(over(cells), wanted, atol=1e-6)


def test_frames_have_the_pitches_of_all_tracks():
    roll = -torch.ones(1, *SHAPE)
    roll[0, 2, 1, 3, 7] = 1
    frames = frames_of(roll)
    assert frames.shape == (1, 48, 36)
    assert frames.nonzero().tolist() == [[0, 24 + 3, 2 * 12 + 7]]


def test_a_closed_gate_empties_its_track():
    net = model(initial_density=0.4).eval()
    latents = net.latents(8, rng(8))
    with torch.no_grad():
        net.generator.gate.weight.zero_()
        net.generator.gate.bias.copy_(torch.tensor([9.0, -9.0, 9.0]))
        notes = net.compose(latents)
    assert notes[:, 1].max() < 0.001
    assert notes[:, [0, 2]].max() > 0.3


def test_what_the_coarsest_scale_says_holds_for_the_bar():
    net = model().eval()
    with torch.no_grad():
        for output in net.generator.outputs[1:]:
            output.weight.zero_(), output.bias.zero_() if output.bias is not None else None
        notes = net.compose(net.latents(4, rng(4)))
    assert torch.equal(notes, notes[:, :, :, :1].expand_as(notes))  # every step is the first one
    assert not torch.equal(notes[:, :, 0], notes[:, :, 1])


@pytest.mark.parametrize("gate", [True, False])
def test_training_begins_at_the_wanted_density(gate):
    net = model(initial_density=0.05, gate=gate)
    notes = net.compose(net.latents(64, rng(64)))
    assert notes.mean().item() == pytest.approx(0.05, rel=0.3)


def test_the_critic_judges_each_phrase_by_itself():
    critic = model().critic
    roll = torch.randn(3, *SHAPE).clamp(-1, 1)
    assert torch.allclose(critic(roll), torch.cat([critic(row[None]) for row in roll]), atol=1e-5)


def test_deviation_is_that_of_its_group():
    """Groups of three: phrases 0, 2, 4 and 1, 3, 5, numpy's population deviation; five phrases make one group of
    five or, with at most four, five of one, which do not deviate."""
    features = torch.randn(6, 2, 3)
    found = spread(features, 3)
    for first in (0, 1):
        wanted = features[first::2].numpy().std(0)
        for row in found[first::2]:
            assert row.numpy() == pytest.approx(wanted, abs=1e-5)
    assert spread(features[:5], 5)[3].numpy() == pytest.approx(features[:5].numpy().std(0), abs=1e-5)
    assert spread(features[:5], 4).max() < 1e-3


def test_a_critic_of_groups_sees_that_a_track_never_plays():
    """Both batches hold only real phrases; in one of them no phrase has the third track. What differs for the silent
    phrase is its company alone. The layer that reads it has a weight for each track and one for the features."""
    alone, grouped = model().critic, model(minibatch_std=4).critic
    assert grouped.bars.weight.numel() - alone.bars.weight.numel() == 16 * (3 + 1)
    silent = -torch.ones(4, *SHAPE)
    mixed = silent.clone()
    mixed[2:, 2, :, 3, 5] = 1
    assert torch.allclose(alone(silent)[0], alone(mixed)[0], atol=1e-5)
    assert (grouped(silent)[0] - grouped(mixed)[0]).abs() > 0.001


def test_rhythm_counts_onsets_and_those_of_the_bar_before_that_do_not_repeat():
    """Chords count as one onset, held notes as none; a note that goes on into the next bar does not begin again."""
    roll = -torch.ones(1, *SHAPE)
    roll[0, 0, 0, [0, 6, 12], 3] = roll[0, 0, 0, 0, 7] = 1  # three onsets, one of them a chord
    roll[0, 0, 1, [0, 12, 15], 5] = 1  # two of them again, and another
    roll[0, 1, 0, 20:, 2] = roll[0, 1, 1, :4, 2] = 1  # held over the bar line
    found = 4 * soft_rhythm(roll, roll[..., :0])
    assert found.shape == (1, 2, 6)  # bars; onsets of three tracks, then differences
    assert found[0, :, :3].tolist() == [[3, 1, 0], [3, 0, 0]]
    assert found[0, :, 3:].tolist() == [[0, 0, 0], [2, 1, 0]]
    probable = roll.clamp(-1, 0.2).requires_grad_()  # notes of probability 0.6 count as 0.6
    assert (4 * soft_rhythm(probable, probable[..., :0]))[0, 0, 0].item() == pytest.approx(1.8)
    soft_rhythm(probable, probable[..., :0])[0, :, :3].sum().backward()
    assert probable.grad[0, 0, 0, 6, 3] > 0


def test_a_critic_of_rhythm_has_a_weight_for_each_number():
    alone, rhythm = model().critic, model(rhythm=True).critic
    assert rhythm.bars.weight.numel() - alone.bars.weight.numel() == 16 * 2 * 3
    roll = torch.randn(3, *SHAPE).clamp(-1, 1)
    assert torch.allclose(rhythm(roll), torch.cat([rhythm(row[None]) for row in roll]), atol=1e-5)


def test_given_tracks_are_kept_and_heard():
    net = model(given=[2, 0], initial_density=0.4).eval()
    assert isinstance(net, ConditionalOnInput)
    assert net.given_fields() == ("roll",)
    roll = torch.rand(4, *SHAPE) < 0.2
    made = net.generate(4, rng(4), Request(given={"roll": roll}))["roll"]
    assert torch.equal(made[:, [0, 2]], roll[:, [0, 2]])
    hidden = roll.clone()
    hidden[:, 1] = ~hidden[:, 1]
    assert torch.equal(made, net.generate(4, rng(4), Request(given={"roll": hidden}))["roll"])
    latents, heard = net.latents(4, rng(4)), frames_of(roll[:, [0, 2]].float() * 2 - 1)
    assert (net.compose(latents, heard) - net.compose(latents, heard.flip(0))).abs().mean() > 0.001
    with pytest.raises(UsageError, match="tracks to accompany"):
        net.generate(1, rng(1), Request())


def test_whichever_tracks_are_given_are_kept_and_heard():
    net = model(given="any", initial_density=0.4).eval()
    roll = torch.rand(4, *SHAPE) < 0.2
    assert net.given_fields() == ()
    assert net.generate(4, rng(4), Request())["roll"].shape == roll.shape
    for wanted, places in (("2", [2]), ("1,0", [1, 0]), ("b", [1])):
        net.names = ("a", "b", "c")
        options = net.Options(given=wanted)
        assert (net.given_fields(options), net.given_places(options)) == (("roll",), {"roll": places})
        made = net.generate(4, rng(4), Request(options, {"roll": roll}))["roll"]
        others = [track for track in range(3) if track not in places]
        assert torch.equal(made[:, places], roll[:, places])
        assert not torch.equal(made[:, others], roll[:, others])
        hidden = roll.clone()
        hidden[:, others] = ~hidden[:, others]
        assert torch.equal(made, net.generate(4, rng(4), Request(options, {"roll": hidden}))["roll"])
        heard = roll.clone()
        heard[:, places] = heard[:, places].flip(0)
        assert not torch.equal(
            made[:, others], net.generate(4, rng(4), Request(options, {"roll": heard}))["roll"][:, others]
        )
    silent = torch.zeros_like(roll)
    given = net.generate(4, rng(4), Request(net.Options(given="0"), {"roll": silent}))["roll"]
    assert not torch.equal(given[:, 1:], net.generate(4, rng(4), Request())["roll"][:, 1:])  # a rest is something too


def test_any_choice_of_tracks_is_trained_but_all():
    """Of 4,000 masks of three tracks each of the seven subsets that leave one is drawn; sizes 0, 1, 2 equally often."""
    masks = model(given="any")._some_tracks(rng(4000))
    sizes = torch.bincount(masks.sum(1), minlength=4)
    assert sizes[3] == 0
    assert (sizes[:3] - 4000 / 3).abs().max() < 150
    assert len(masks.unique(dim=0)) == 7


def test_a_choice_is_for_models_that_have_one():
    with pytest.raises(UsageError, match="model.given=any; leave it out"):
        model(given=[0]).given_fields(FrameGAN.Options(given="1"))
    with pytest.raises(UsageError, match="--given names every track"):
        model(given="any").given_fields(FrameGAN.Options(given="0,1,2"))


def test_composer_needs_nothing_given_and_joins_phrases():
    net = model(initial_density=0.4).eval()
    assert net.given_fields() == ()
    made = net.generate(2, rng(2), Request(options=net.Options(bars=6)))["roll"]
    assert made.shape == (2, 3, 6, 24, 12)
    with pytest.raises(UsageError, match="not a multiple"):
        net.generate(2, rng(2), Request(options=net.Options(bars=5)))


@pytest.mark.parametrize("given", [[3], [0, 0], [0, 1, 2]])
def test_given_tracks_must_exist_and_leave_one(given):
    with pytest.raises(UsageError, match=r"model\.given"):
        model(given=given)
