"""DVD-GAN: recurrence over time, critics of some frames and of small clips, longer clips, classes."""

from __future__ import annotations

import pytest
import torch
from gan.contracts import FieldSpec, Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.generation.settling import settle
from gan.losses import Hinge
from gan_video.architectures.dvdgan import DVDGAN, ConvGRU, DVDGANConfig, DVDGANOptions

CPU = torch.device("cpu")


def fields(side=16, frames=6, classes=0):
    found = {"video": FieldSpec((frames, 3, side, side), "uint8", 0, 255, "intensity")}
    if classes:
        found["label"] = FieldSpec((), "int64", 0, classes - 1, "class index", condition=True)
    return found


def build(side=16, frames=6, classes=0, **settings):
    torch.manual_seed(0)
    sizes = {"latent": 6, "embedding": 4, "width": 4, "critic_width": 4, "frames_seen": 2}
    return DVDGAN(DVDGANConfig(**{**sizes, **settings}), fields(side, frames, classes))


def made_by(model, count=2, label=None, **options):
    given = None if label is None else {"label": torch.full((count,), label)}
    with torch.no_grad():
        return model.generate(count, SeededDraws.of(3, 0, count, CPU), Request(DVDGANOptions(**options), given))[
            "video"
        ]


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_networks_have_the_sizes_of_their_layers():
    """Without classes: GRU(w) = 54w² + 3w; block(a, b) = 9ab + 9b² + 2b + (ab + b where a ≠ b), and norms of 2cz for
    each of its two; checked on the widths 8, 4 of 16 pixels with z = 6."""

    def gru(w):
        return 54 * w * w + 3 * w

    def block(a, b, z=0, shortcut=False):
        return 9 * a * b + 9 * b * b + 2 * b + 2 * z * (a + b) + (a * b + b if shortcut else 0)

    model = build()
    blocks = block(8, 8, 6) + block(8, 4, 6, True) + 2 * block(4, 4, 6)
    first, last = 6 * 16 * 8 + 16 * 8, 2 * 4 + 3 * 9 * 4 + 3
    assert count(model.generator) == first + gru(8) + gru(4) + blocks + last
    spatial = block(3, 4, 0, True) + block(4, 8, 0, True) + block(8, 8) + 8 + 1
    assert count(model.spatial_critic) == spatial
    volumes = 27 * (3 * 4 + 4 * 4 + 2 * 4 * 4) + 4 * 4 + (3 * 4 + 4)  # 3-D: 3 -> 4 and 4 -> 4
    assert count(model.temporal_critic) == volumes + 4 + 1


def test_the_gru_is_its_formula():
    torch.manual_seed(0)
    unit = ConvGRU(2).eval()
    x, h = torch.randn(1, 2, 3, 3), torch.rand(1, 2, 3, 3)
    gates = torch.nn.functional.conv2d(torch.cat([x, h], 1), unit.gates.weight, unit.gates.bias, padding=1)
    r, u = gates[:, :2].sigmoid(), gates[:, 2:].sigmoid()
    c = torch.nn.functional.conv2d(torch.cat([x, r * h], 1), unit.candidate.weight, unit.candidate.bias, padding=1)
    assert torch.allclose(unit(x, h), u * h + (1 - u) * c.relu(), atol=1e-6)


def test_longer_clips_begin_like_shorter_ones_and_move():
    model = build().eval()
    short, long = made_by(model), made_by(model, frames=11)
    assert short.shape == (2, 6, 3, 16, 16)
    assert long.shape == (2, 11, 3, 16, 16)
    assert (long[:, :6].int() - short.int()).abs().max() <= 1
    assert not torch.equal(short[:, 0], short[:, 5])


@pytest.mark.parametrize("options", [{}, {"frames": 70, "truncation": 0.5}])
def test_a_stream_is_the_clip_in_parts(options):
    """Of at most 32 frames; pixels differ by rounding at most."""
    model = build(classes=2).eval()
    whole = made_by(model, 1, label=1, **options)
    request = Request(DVDGANOptions(**options), {"label": torch.tensor([1])})
    with torch.no_grad():
        parts = [part["video"] for part in model.stream(SeededDraws.of(3, 0, 1, CPU), request)]
    assert max(part.shape[1] for part in parts) <= 32
    joined = torch.cat(parts, 1)
    assert joined.shape == whole.shape
    assert (joined.int() - whole.int()).abs().max() <= 1


def batch(classes=2, rows=4):
    torch.manual_seed(1)
    clips = torch.randint(0, 256, (rows, 6, 3, 16, 16), dtype=torch.uint8)
    return Batch({"video": clips, "label": torch.arange(rows) % classes}, StepDraws(1, rows, 0, rows, CPU), 0, 0.0)


def test_the_spatial_critic_sees_some_frames_and_the_temporal_one_small_clips():
    model, seen = build(classes=2), []
    for critic in (model.spatial_critic, model.temporal_critic):
        critic.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    given = batch()
    clips = given["video"].float() / 127.5 - 1
    output = model.critic(clips, given)
    frames, small = seen
    assert frames.shape == (4, 2, 3, 16, 16)
    for clip, chosen in zip(clips, frames, strict=True):
        places = [next(i for i, frame in enumerate(clip) if torch.equal(frame, one)) for one in chosen]
        assert len(set(places)) == 2
    assert small.shape == (4, 6, 3, 8, 8)
    assert torch.allclose(small[0, 0, 0, 0, 0], clips[0, 0, 0, :2, :2].mean(), atol=1e-6)
    assert [scores.shape for scores in output.scores] == [(4,), (4,)]


def test_every_turn_teaches_all_of_its_player_and_weights_are_normalized_once_a_pass():
    model, given = build(classes=2), batch()
    for turn in model.phases(Hinge(), {})[0].turns:
        model.zero_grad()
        terms = turn.objective(given)
        sum(value for name, value in terms.items() if not name.startswith("_")).backward()
        for name, parameter in model.players()[turn.player].named_parameters():
            assert parameter.grad is not None, (turn.player, name)
            assert parameter.grad.isfinite().all()
    norm = model.generator.recurrent[0].gates.parametrizations.weight[0]
    before = norm._u.clone()
    model.generator(torch.randn(2, 10), 5)
    after = norm._u.clone()
    norm._u.copy_(before)
    norm(model.generator.recurrent[0].gates.parametrizations.weight.original)
    assert torch.allclose(norm._u, after, atol=1e-5)  # one power iteration for five frames


def test_classes_change_the_clip_and_shares_mix_them():
    model = build(classes=3).eval()
    assert model.given_fields() == ("label",)
    one, other = made_by(model, label=0), made_by(model, label=2)
    assert not torch.equal(one, other)
    with torch.no_grad():
        request = Request(DVDGANOptions(), {"label": torch.tensor([[0.0, 0.0, 1.0]] * 2)})
        mixed = model.generate(2, SeededDraws.of(3, 0, 2, CPU), request)["video"]
    assert torch.equal(mixed, other)


def test_standing_statistics_are_those_of_generated_clips():
    model = build(classes=2)
    before = model.generator.norm.running_mean.clone()
    settle(model, CPU)
    assert not torch.equal(model.generator.norm.running_mean, before)


def test_too_many_frames_to_see_and_odd_sides_are_refused():
    with pytest.raises(UsageError, match="a clip has 6 frames"):
        build(frames_seen=7)
    with pytest.raises(UsageError, match="dvdgan generates frames of 16"):
        build(side=24)
