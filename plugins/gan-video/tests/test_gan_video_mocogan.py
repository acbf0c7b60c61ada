"""MoCoGAN: published sizes, content and motion apart, longer clips, classes, and the forms for little time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.contracts import FieldSpec, Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.generation.model import Model
from gan_video.architectures.mocogan import MoCoGAN, MoCoGANConfig, MoCoGANOptions
from gan_video.modality import VideoConfig, VideoModality, VideoOptions

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


APART = {"generator": "apart", "clip_critic": "stack", "condition": "projection", "patch": False}


def made_by(model, count=2, label=None, **options):
    given = None if label is None else {"label": torch.full((count,), label)}
    request = Request(MoCoGANOptions(**options), given)
    with torch.no_grad():
        return model.generate(count, SeededDraws.of(3, 0, count, CPU), request)["video"]


@pytest.mark.parametrize("form", [{}, APART])
def test_longer_clips_begin_like_shorter_ones(form):
    model = build(**form)
    short, long = made_by(model), made_by(model, frames=25)
    assert short.shape == (2, 10, 3, 16, 16)
    assert long.shape == (2, 25, 3, 16, 16)
    assert torch.equal(long[:, :10], short)


@pytest.mark.parametrize("form", [{}, APART])
@pytest.mark.parametrize("options", [{}, {"frames": 70}, {"frames": 40, "content_seed": 1}, {"motion_seed": 2}])
def test_a_stream_is_the_clip_in_parts(options, form):
    """Of at most 32 frames; pixels differ by rounding at most."""
    model = build(classes=2, **form)
    whole = made_by(model, 1, label=1, **options)
    request = Request(MoCoGANOptions(**options), {"label": torch.tensor([1])})
    with torch.no_grad():
        parts = [part["video"] for part in model.stream(SeededDraws.of(3, 0, 1, CPU), request)]
    assert max(part.shape[1] for part in parts) <= 32
    joined = torch.cat(parts, 1)
    assert joined.shape == whole.shape
    assert (joined.int() - whole.int()).abs().max() <= 1


@pytest.mark.parametrize("form", ["mp4", "gif"])
def test_a_streamed_file_is_the_written_one(tmp_path, form):
    """By the model that ``gan generate --stream`` uses; equal pixels give equal bytes."""
    video = VideoModality(VideoConfig(resolution=16, frames=10), {})
    model = Model(build(), video, "video/mocogan", CPU)
    output = VideoOptions(format=form)
    (path,), beginning = model.write_stream(tmp_path / "a", 1, 5, options={"frames": 50}, output_options=output)
    assert beginning["video"].shape == (1, 32, 3, 16, 16)
    whole = model.generate(1, 5, options={"frames": 50})
    assert np.abs(whole["video"][:, :32].astype(int) - beginning["video"]).max() <= 1
    joined = [{"video": whole["video"][0][begin : begin + 20]} for begin in (0, 20, 40)]
    streamed = video.write_stream(iter(joined), tmp_path / "b", output)
    assert streamed.read_bytes() == video.write({"video": whole["video"][0]}, tmp_path / "c", output).read_bytes()
    assert path.stat().st_size > 0


@pytest.mark.parametrize("form", [{}, APART])
def test_content_and_motion_are_chosen_apart(form):
    """With one content seed the content codes of all clips are equal and the rest is not, and the other way round."""
    model = build(**form)
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


def test_a_projection_adds_the_score_of_the_class():
    """Behind s + ⟨y, V h⟩ the scores of one clip as two classes differ by those of the classes alone, and a clip that
    is half of each has their mean; the critic of frames knows no class."""
    model = build(classes=2, **APART)
    clips = torch.randn(3, 10, 3, 16, 16, generator=torch.Generator().manual_seed(1))

    def scores(label):
        batch = Batch({"label": label}, StepDraws(0, 3, 0, 3, CPU), 0, 0.0)
        return model.critic(clips, batch)

    with torch.no_grad():
        zero, one, half = (
            scores(label) for label in (torch.zeros(3).long(), torch.ones(3).long(), torch.full((3, 2), 0.5))
        )
    frame, clip = zero.scores
    assert clip.shape == (3, 1, 1, 1)
    torch.testing.assert_close(frame, one.scores[0])
    torch.testing.assert_close((one.scores[1] - clip).flatten(), zero.features[0][:, 1] - zero.features[0][:, 0])
    torch.testing.assert_close(half.scores[1], (clip + one.scores[1]) / 2)


def test_content_scales_features_and_enters_no_code():
    """With styles of zero, two contents give the same clip; the code of a frame is class, noise and state."""
    model = build(classes=3, **APART)
    assert model.image_generator[0].in_channels == 3 + 4 + 16
    assert not torch.equal(*(made_by(model, 1, label=0, content_seed=seed, motion_seed=0) for seed in (1, 2)))
    assert model.linear_maps()[0].shape[1] == model.latents(1, SeededDraws.of(0, 0, 1, CPU)).shape[1]
    for layer in model.styles:
        torch.nn.init.zeros_(layer.weight)
    assert torch.equal(*(made_by(model, 1, label=0, content_seed=seed, motion_seed=0) for seed in (1, 2)))


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
