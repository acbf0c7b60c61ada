"""Animate: clips that begin with a given picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.contracts import FieldSpec, Given, GivenInPart, Request
from gan.draws import SeededDraws
from gan.errors import UsageError
from gan.generation.model import Model
from gan_video.architectures.animate import Animate, AnimateConfig, AnimateOptions, composed
from gan_video.modality import VideoConfig, VideoModality, VideoOptions
from PIL import Image

CPU = torch.device("cpu")
SMALL = {"content": 6, "motion": 3, "state": 6, "width": 4, "encoder_width": 4, "critic_width": 4}


def build(classes=0, side=16, frames=6):
    torch.manual_seed(0)
    fields = {"video": FieldSpec((frames, 3, side, side), "uint8", 0, 255, "intensity")}
    if classes:
        fields["label"] = FieldSpec((), "int64", 0, classes - 1, "class index", condition=True)
    return Animate(AnimateConfig(**SMALL), fields).eval()


def pictures(count, frames=6, side=16):
    clips = torch.zeros(count, frames, 3, side, side, dtype=torch.uint8)
    clips[:, 0] = torch.randint(256, (count, 3, side, side), generator=torch.Generator().manual_seed(1))
    return clips


def made_by(model, given, seed=3, **options):
    request = Request(AnimateOptions(**options), given)
    count = len(given["video"])
    with torch.no_grad():
        return model.generate(count, SeededDraws.of(seed, 0, count, CPU), request)["video"]


@pytest.mark.parametrize("frames", [0, 1, 20])
def test_clips_begin_with_the_picture_and_go_on(frames):
    model, clips = build(), pictures(3)
    assert isinstance(model, GivenInPart)
    assert dict(model.given_places()) == {"video": [0]}
    made = made_by(model, {"video": clips}, frames=frames)
    assert made.shape == (3, frames or 6, 3, 16, 16)
    assert torch.equal(made[:, 0], clips[:, 0])
    if frames != 1:
        assert not torch.equal(made[:, 1], clips[:, 0])


def test_only_the_first_frame_of_what_is_given_is_used():
    """Evaluation gives whole real clips, `gan translate` a picture."""
    model, clips = build(), pictures(2)
    full = clips.clone()
    full[:, 1:] = 200
    assert torch.equal(made_by(model, {"video": clips}), made_by(model, {"video": full}))


def test_seed_class_and_picture_each_change_the_clip():
    model, clips = build(classes=2), pictures(1)
    base = {"video": clips, "label": torch.tensor([0])}
    first = made_by(model, base)
    assert torch.equal(first, made_by(model, base))
    assert not torch.equal(first, made_by(model, base, seed=4))
    assert not torch.equal(first, made_by(model, {**base, "label": torch.tensor([1])}))
    assert not torch.equal(first[:, 1:], made_by(model, {**base, "video": 255 - clips})[:, 1:])


@pytest.mark.parametrize(
    ("logits", "shares"), [((-1, -1), (74.2, 0.5, 0.5)), ((1, -1), (0.5, 73.7, 0)), ((0, 0), (1, 1, 1))]
)
def test_masks_compose_what_stays_what_moves_and_what_is_drawn(logits, shares):
    """Softmax of (0, 5·a, 5·b): e⁵ = 148.4, so that of (0, -5, -5) the shares are as 74.2 to 0.5 to 0.5."""
    first, moved, made = torch.full((1, 1, 4, 4), 1.0), torch.full((1, 2, 1, 4, 4), 10.0), torch.zeros(1, 2, 3, 4, 4)
    made[:, :, 0] = 100.0
    made[:, :, 1], made[:, :, 2] = logits
    wanted = (shares[0] * 1 + shares[1] * 10 + shares[2] * 100) / sum(shares)
    torch.testing.assert_close(composed(first, moved, made), torch.full((1, 2, 1, 4, 4), wanted), rtol=2e-3, atol=0)


def test_pictures_move_as_a_whole():
    """A map that looks half of the half side to the right moves 16 pixels by 4 to the left."""
    model = build()
    with torch.no_grad():
        model.generator.affine.weight.zero_()
        still = model.generator._moved(picture := torch.rand(1, 3, 16, 16), torch.zeros(1, 12))
        model.generator.affine.bias[2] = 0.5
        moved = model.generator._moved(picture, torch.zeros(1, 12))
    torch.testing.assert_close(still, picture)
    torch.testing.assert_close(moved[..., :12], picture[..., 4:])


def test_without_a_picture_the_remedy_is_named():
    with pytest.raises(UsageError, match="--input"):
        build().generate(1, SeededDraws.of(0, 0, 1, CPU), Request(None, None))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif"])
def test_pictures_become_clips_under_their_names(tmp_path, name):
    """By what ``gan translate`` uses; a picture of another size is made square as frames of the training were."""
    tile = np.zeros((24, 40, 3), np.uint8)
    tile[:, 20:, 1] = 200
    Image.fromarray(tile).save(tmp_path / name)
    video = VideoModality(VideoConfig(resolution=16, frames=6), {})
    model = Model(build(), video, "video/animate", CPU)
    given = model.given()
    assert given == Given(("video",), {"video": (0,)}, None, False)
    made = model.translate(tmp_path / name, seed=1)["video"]
    assert made.shape == (1, 6, 3, 16, 16)
    np.testing.assert_allclose(made[0, 0, 1, :, [2, 13]], [[0] * 16, [200] * 16], atol=12)
    from gan.source import list_source

    (file,) = list_source(tmp_path / name, video.suffixes).files
    (path,), _ = model.render(file, tmp_path / "out" / "a", given, 1, output_options=VideoOptions(format="webp"))
    with Image.open(path) as found:
        assert (path.name, found.n_frames) == ("a.webp", 6)
