"""MoCoGAN: published sizes, content and motion apart, longer clips, classes."""

from __future__ import annotations

import pytest
import torch
from gan.contracts import FieldSpec, Request
from gan.draws import SeededDraws
from gan.errors import UsageError
from gan_video.architectures.mocogan import MoCoGAN, MoCoGANConfig, MoCoGANOptions

CPU = torch.device("cpu")


def fields(side=64, frames=16, classes=0):
    found = {"video": FieldSpec((frames, 3, side, side), "uint8", 0, 255, "intensity")}
    if classes:
        found["label"] = FieldSpec((), "int64", 0, classes - 1, "class index", condition=True)
    return found


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def build(side=16, frames=10, classes=0, **settings):
    torch.manual_seed(0)
    sizes = {"content": 6, "motion": 4, "width": 4, "critic_width": 4}
    return MoCoGAN(MoCoGANConfig(**{**sizes, **settings}), fields(side, frames, classes)).eval()


@pytest.mark.parametrize(("classes", "generator"), [(0, 3_249_684), (6, 3_298_836)])
def test_the_generator_has_its_published_size(classes, generator):
    """4·4·code·512 and so on without biases, batch normalization with two numbers a channel, a GRU cell of 660."""
    made = MoCoGAN(MoCoGANConfig(critic_norm="batch"), fields(classes=classes))
    assert count(made.motion_cell, made.image_generator) == generator


@pytest.mark.parametrize(("patch", "image", "video"), [(True, 663_296, 2_650_880), (False, 2_765_568, 11_056_896)])
def test_the_critics_have_their_published_sizes(patch, image, video):
    made = MoCoGAN(MoCoGANConfig(critic_norm="batch", patch=patch), fields())
    assert (count(made.image_critic), count(made.video_critic)) == (image, video)


def test_critics_give_the_published_maps():
    """Four convolutions without padding in time take 3 frames each: 16 -> 4; a map of 4x4 patches."""
    made = MoCoGAN(MoCoGANConfig(width=2, critic_width=2, critic_norm="batch"), fields()).eval()
    clip = torch.zeros(2, 3, 16, 64, 64)
    assert made.video_critic(clip).shape == (2, 1, 4, 4, 4)
    assert made.image_critic(clip[:, :, 0]).shape == (2, 1, 4, 4)


def made_by(model, count=2, label=None, **options):
    given = None if label is None else {"label": torch.full((count,), label)}
    request = Request(MoCoGANOptions(**options), given)
    with torch.no_grad():
        return model.generate(count, SeededDraws.of(3, 0, count, CPU), request)["video"]


def test_longer_clips_begin_like_shorter_ones():
    model = build()
    short, long = made_by(model), made_by(model, frames=25)
    assert short.shape == (2, 10, 3, 16, 16)
    assert long.shape == (2, 25, 3, 16, 16)
    assert torch.equal(long[:, :10], short)


def test_content_and_motion_are_chosen_apart():
    """With one content seed the content codes of all clips are equal and the rest is not, and the other way round."""
    model = build()
    seen = {}
    model.decode = lambda latents, request: seen.setdefault("latents", latents.clone()) is None or {"video": latents}
    for option, same in (("content_seed", slice(0, 6)), ("motion_seed", slice(6, None))):
        seen.clear()
        made_by(model, **{option: 7})
        first, second = seen["latents"]
        alike = torch.zeros(len(first), dtype=torch.bool)
        alike[same] = True
        assert torch.equal(first[alike], second[alike])
        assert not torch.equal(first[~alike], second[~alike])


def test_the_class_is_part_of_every_frames_code():
    model = build(classes=3)
    assert model.given_fields() == ("label",)
    one, other = made_by(model, label=0), made_by(model, label=2)
    assert not torch.equal(one, other)
    assert torch.equal(one, made_by(model, label=0))


def test_too_few_frames_and_odd_sides_are_refused():
    """At 32 pixels the patch critic has three convolutions in time: 3·3 + 1 = 10 frames."""
    build(side=32, frames=10)
    with pytest.raises(UsageError, match="needs 10 frames, not 9"):
        build(side=32, frames=9)
    with pytest.raises(UsageError, match="not 24"):
        build(side=24)
