"""StyleGAN-V: continuous motion, any length and rate, a discriminator of a few frames at random times."""

from __future__ import annotations

import pytest
import torch
from gan.contracts import FieldSpec, Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import NonSaturating
from gan_video.architectures.styleganv import ANCHORS, StyleGANV, StyleGANVConfig, StyleGANVOptions

CPU = torch.device("cpu")
SIZES = {
    "latent": 6, "style": 5, "mapping_layers": 2, "capacity": 128, "max_channels": 8, "motion": 4, "encoding": 7,
    "distance": 7, "horizon": 64,
}  # fmt: skip


def build(side=32, frames=10, classes=0, **settings):
    torch.manual_seed(0)
    fields = {"video": FieldSpec((frames, 3, side, side), "uint8", 0, 255, "intensity")}
    if classes:
        fields["label"] = FieldSpec((), "int64", 0, classes - 1, "class index", condition=True)
    return StyleGANV(StyleGANVConfig(**{**SIZES, **settings}), fields)


def made_by(model, count=2, label=None, **options):
    given = None if label is None else {"label": torch.full((count,), label)}
    request = Request(StyleGANVOptions(**options), given)
    with torch.no_grad():
        return model.generate(count, SeededDraws.of(3, 0, count, CPU), request)["video"]


def test_motion_is_continuous_and_at_anchors_what_the_anchors_say():
    encoder = build().generator.motion
    noise = torch.randn(2, 3 + 20 + 1, 4)
    u = encoder.anchors(noise)
    assert u.shape == (2, 4, 4)
    begin = torch.tensor([[32.0], [0.0]])
    times = torch.tensor([[0.0, 16.0, 32.0, 15.999, 16.001]]).expand(2, -1)
    codes = encoder(noise, times, begin)
    assert torch.allclose(codes[:, :3], encoder.align(u[:, :3]), atol=1e-5)
    assert torch.allclose(codes[:, 3], codes[:, 4], atol=0.05)
    assert not torch.allclose(encoder(noise, times + 3, begin)[0], encoder(noise, times + 3, begin + 5)[0])


def test_anchors_are_convolutions_over_time_with_a_hundredth_of_the_learning_rate():
    encoder = build().generator.motion
    noise = torch.randn(1, 30, 4)
    x = noise.mT
    for weight, bias in ((encoder.first, encoder.biases[0]), (encoder.second, encoder.biases[1])):
        x = torch.nn.functional.conv1d(x, weight * 0.01 / (4 * 11) ** 0.5, bias * 0.01)
        x = torch.nn.functional.leaky_relu(x, 0.2) * 2**0.5
    assert torch.allclose(encoder.anchors(noise), x.mT, atol=1e-5)
    assert encoder.first.std().item() == pytest.approx(100, rel=0.2)


def test_longer_clips_begin_like_shorter_ones_and_frames_between_frames_exist():
    model = build().eval()
    short, long, slow = made_by(model), made_by(model, frames=40), made_by(model, frames=19, speed=0.5)
    assert short.shape == (2, 10, 3, 32, 32)
    assert long.shape == (2, 40, 3, 32, 32)
    assert (long[:, :10].int() - short.int()).abs().max() <= 1
    assert (slow[:, ::2].int() - short.int()).abs().max() <= 1
    assert not torch.equal(slow[:, 1], slow[:, 0])
    assert not torch.equal(long[:, 39], long[:, 30])


@pytest.mark.parametrize(
    "options", [{}, {"frames": 70, "truncation": 0.5}, {"frames": 40, "speed": 0.25, "content_seed": 1}]
)
def test_a_stream_is_the_clip_in_parts(options):
    """Of at most 32 frames; pixels differ by rounding at most."""
    model = build(side=16, classes=2).eval()
    whole = made_by(model, 1, label=1, **options)
    request = Request(StyleGANVOptions(**options), {"label": torch.tensor([1])})
    with torch.no_grad():
        parts = [part["video"] for part in model.stream(SeededDraws.of(3, 0, 1, CPU), request)]
    assert max(part.shape[1] for part in parts) <= 32
    joined = torch.cat(parts, 1)
    assert joined.shape == whole.shape
    assert (joined.int() - whole.int()).abs().max() <= 1


def batch(classes=2, rows=4, side=32):
    torch.manual_seed(1)
    clips = torch.randint(0, 256, (rows, 10, 3, side, side), dtype=torch.uint8)
    return Batch({"video": clips, "label": torch.arange(rows) % classes}, StepDraws(1, rows, 0, rows, CPU), 0, 0.0)


def test_the_discriminator_sees_the_same_few_times_of_real_and_generated_clips():
    model, given, seen = build(classes=2), batch(), []
    model.discriminator.register_forward_pre_hook(lambda _, values: seen.append(values))
    model.phases(NonSaturating(), {})[0].turns[0].objective(given)
    (real, times, _), (fake, others, _) = seen
    assert real.shape == fake.shape == (4, 3, 3, 32, 32)
    assert torch.equal(times, others)
    assert (times.diff() > 0).all()
    assert times.min() >= 0
    assert times.max() <= 9
    assert (times[:, -1] - times[:, 0]).max() <= 7
    clips = given["video"].float() / 127.5 - 1
    assert torch.equal(real[1, 2], clips[1, int(times[1, 2])])


def test_times_cover_the_clip():
    model = build()
    rows = 4000
    given = Batch({"video": torch.zeros(rows, 1)}, StepDraws(1, rows, 0, rows, CPU), 0, 0.0)
    times = model.times(given)
    assert set(times.flatten().tolist()) == set(range(10))
    assert len(set(times[:, 0].tolist())) == 8


def test_the_discriminator_looks_at_frames_alone_above_16_pixels_and_at_their_distances():
    """Blocks of 32 pixels see frames by themselves; the next one has the features of three."""
    model = build()
    blocks = model.discriminator.blocks
    assert model.discriminator.alone == 1
    assert [block.modulated is None for block in blocks] == [True, False, False]
    assert blocks[0].plain.weight.shape[1] == model.config.channels(32) // 2
    assert blocks[1].modulated.convolution.weight.shape[1] == 3 * (model.config.channels(16) // 2)
    frames = torch.randn(4, 3, 3, 32, 32)
    near, far = torch.tensor([[0.0, 1, 2]]).expand(4, -1), torch.tensor([[0.0, 1, 7]]).expand(4, -1)
    scores = [model.discriminator(frames, times, None) for times in (near, near + 5, far)]
    assert torch.allclose(scores[0], scores[1], atol=1e-5)
    assert not torch.allclose(scores[0], scores[2], atol=1e-5)


def test_every_turn_teaches_all_of_its_player_and_styles_are_averaged():
    model, given = build(classes=2), batch()
    generator = model.phases(NonSaturating(), {})[0].turns[-1]
    for turn in model.phases(NonSaturating(), {})[0].turns:
        model.zero_grad()
        terms = turn.objective(given)
        sum(value for name, value in terms.items() if not name.startswith("_")).backward()
        for name, parameter in model.players()[turn.player].named_parameters():
            assert parameter.grad is not None, (turn.player, name)
            assert parameter.grad.isfinite().all()
    observed = given.observed
    assert observed["count"] == 4
    generator.learn(observed, given.rng)
    assert torch.allclose(model.w_average, 0.005 * observed["w"] / 4, atol=1e-6)


def test_content_and_motion_are_chosen_apart():
    model = build().eval()
    same_content, same_motion = made_by(model, content_seed=7), made_by(model, motion_seed=7)
    assert not torch.equal(same_content[0], same_content[1])
    assert not torch.equal(same_motion[0], same_motion[1])
    both = made_by(model, content_seed=7, motion_seed=7)
    assert torch.equal(both[0], both[1])
    assert torch.equal(both, made_by(model, content_seed=7, motion_seed=7))
    assert model.latent_parts()["content"].sum() == 6
    assert len(model.latent_parts()["content"]) == 6 + 4 * (2 + 20)


def test_truncation_moves_styles_to_their_average_and_classes_change_clips():
    model = build(classes=3).eval()
    one, other = made_by(model, label=0), made_by(model, label=2)
    assert not torch.equal(one, other)
    model.w_average.fill_(1.0)
    assert not torch.equal(made_by(model, label=0, truncation=0.3), one)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="a clip has 2 frames"):
        build(frames=2)
    with pytest.raises(UsageError, match="stylegan-v generates frames of 16"):
        build(side=24)
    assert ANCHORS == 16
