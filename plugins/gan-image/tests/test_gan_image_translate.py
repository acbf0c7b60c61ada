"""`gan translate` of photographs: upright, whole, in their own aspect and size, with alpha and colour profile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan import api
from gan.contracts import Given, InTiles
from gan.errors import BadData
from gan.generation.model import Model
from gan.plugins.manager import Plugins
from gan.source import SourceFile
from gan_image.architectures.cut import CUT, CUTConfig
from gan_image.architectures.cyclegan import CycleGAN, CycleGANConfig
from gan_image.architectures.pix2pix import Pix2Pix, Pix2PixConfig
from gan_image.data.files import _reads_heic, open_picture
from gan_image.modality import ImageConfig, ImageModality
from PIL import Image, ImageCms

SIDE = 32
FACTS = {"channels": 3, "domains": ["a", "b"]}
SMALL = {"generator_width": 4, "discriminator_width": 4, "layers": 1}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


class Upside(torch.nn.Module):
    """A translator that inverts its source, for inputs of any size."""

    generation_batch = 4

    def given_fields(self, options=None):
        return ("source",)

    def tiles(self, options=None):
        from gan.contracts import Tiles

        return Tiles(side=64, reach=4, multiple=4)

    def generate(self, count, rng, request):
        source = request.given["source"]
        return {"source": source, "target": 255 - source}


def model():
    config = ImageConfig(resolution=SIDE, layout="unpaired", channels=3, fit="stretch")
    return Model(
        Upside(), ImageModality(config, {"channels": 3, "domains": ["a", "b"]}), "image/upside", torch.device("cpu")
    )


def photograph(width=96, height=48):
    """Red left half, and a green corner at the top left, in landscape."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[: height // 4, : width // 8] = (0, 255, 0)
    return Image.fromarray(pixels)


def saved(picture, path, **options):
    picture.save(path, **options)
    return SourceFile(path.name, path, None, path.stat().st_size)


def translated(folder, picture, name="photo.jpg", **options):
    model_ = model()
    file = saved(picture, folder / name, **options)
    given = model_.given()
    (written,), _ = model_.render(file, folder / "out" / "photo", given)
    return Image.open(written)


def test_a_portrait_of_a_telephone_comes_back_upright(tmp_path):
    """Orientation 6: stored as landscape, shown turned by a quarter: 48 x 96, the green corner at the top right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    found = translated(tmp_path, photograph(), exif=exif, quality=95)
    assert found.size == (48, 96)
    assert found.getexif().get(0x0112, 1) == 1
    expected = 255 - np.asarray(photograph().rotate(-90, expand=True)).astype(int)
    assert np.abs(np.asarray(found).astype(int) - expected).mean() < 25


def test_a_wide_picture_is_translated_whole_in_its_own_aspect(tmp_path):
    """As the network saw it: 32 pixels high and 64 wide, not a square middle."""
    model_ = model()
    file = saved(photograph(), tmp_path / "photo.png")
    (row,) = model_.modality.read_given(file, model_.given())
    assert row["source"].shape == (3, 32, 64)
    found = np.asarray(translated(tmp_path, photograph(), "photo.png")).astype(int)
    expected = 255 - np.asarray(photograph()).astype(int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 12
    assert found[24, 2, 0] < 60, "the left edge is there"
    assert found[24, 93, 0] > 200, "and the right one"


@pytest.mark.parametrize(("side", "seen"), [(None, (3, 32, 64)), (0, (3, 48, 96)), (24, (3, 24, 48))])
def test_what_the_network_sees_can_be_chosen(tmp_path, side, seen):
    file = saved(photograph(), tmp_path / "photo.png")
    model_ = model()
    (row,) = model_.modality.read_given(file, model_.given({}, {} if side is None else {"side": side}))
    assert row["source"].shape == seen


def test_transparency_size_and_colour_profile_are_kept(tmp_path):
    picture = photograph().convert("RGBA")
    alpha = np.zeros((48, 96), np.uint8)
    alpha[:, :40] = 200
    picture.putalpha(Image.fromarray(alpha))
    found = translated(tmp_path, picture, "photo.png", icc_profile=SRGB)
    assert found.mode == "RGBA"
    assert (np.asarray(found)[..., 3] == alpha).all()
    assert found.info["icc_profile"] == SRGB


def test_a_profile_survives_when_rows_are_written_one_by_one(tmp_path):
    """The network sees the picture's own size, which is written in strips; a grey profile fits no colours."""
    picture = photograph(64, 32)
    found = translated(tmp_path, picture, "photo.png", icc_profile=SRGB)
    assert found.info["icc_profile"] == SRGB
    assert (np.asarray(found) == 255 - np.asarray(picture)).all()
    assert (
        "icc_profile" not in translated(tmp_path, picture, "p.png", icc_profile=b"\0" * 16 + b"GRAY" + b"\0" * 108).info
    )


@pytest.mark.parametrize(
    ("kind", "config", "side"),
    [
        (CycleGAN, CycleGANConfig(**SMALL, blocks=1), (36, 50)),
        (CUT, CUTConfig(**SMALL, blocks=1, contrast_layers=[0, 1], patches=4), (36, 50)),
        (Pix2Pix, Pix2PixConfig(**SMALL), (64, 96)),
    ],
)
def test_the_translators_take_any_size(kind, config, side):
    paired = "side-by-side" if kind is Pix2Pix else "unpaired"
    modality = ImageModality(
        ImageConfig(resolution=SIDE, layout=paired, channels=3), {"channels": 3, "domains": ["a", "b"]}
    )
    net = kind(config, modality.fields).eval()
    assert isinstance(net, InTiles)
    tiles = net.tiles()
    assert tiles.side % tiles.multiple == 0
    assert tiles.reach % tiles.multiple == 0
    assert tiles.side >= 1024
    model_ = Model(net, modality, "image/x", torch.device("cpu"))
    row = {"source": np.random.default_rng(0).integers(0, 256, (3, *side), np.uint8)}
    strips = list(model_._strips(row, model_.given(), 0, 0, None, None))
    assert np.concatenate([strip["target"] for strip in strips], 1).shape == (3, *side)


def test_heic_has_a_reason_and_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("gan_image.data.files._reads_heic", lambda: False)
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(BadData, match="pip install pillow-heif; or save them as JPEG"):
        open_picture(SourceFile("IMG_1.HEIC", tmp_path / "IMG_1.HEIC", None, 12))


@pytest.mark.skipif(not _reads_heic(), reason="pillow-heif is not installed")
def test_heic_is_read_where_its_package_is_installed(tmp_path):
    assert open_picture(saved(photograph(), tmp_path / "a.heic", format="HEIF", quality=90)).size == (96, 48)


def surveyed(folder, sizes, **settings):
    folder.mkdir()
    files = []
    for number, size in enumerate(sizes):
        files.append(saved(Image.new("RGB", size, (200, 10, 10)), folder / f"{number}.png"))
    modality = ImageModality(ImageConfig(**settings))
    return ImageModality(ImageConfig(**settings), modality.survey(files))


def test_the_resolution_is_chosen_from_the_pictures_and_said(tmp_path):
    photographs = surveyed(tmp_path / "a", [(640, 480), (300, 400), (64, 50)], resolution="auto")
    assert photographs.fields["image"].shape == (3, 64, 64)
    (remark,) = photographs.remarks()
    assert "resolution 64, chosen from pictures with a shorter side of about 300 pixels" in remark
    assert "--set modality.resolution=128" in remark
    icons = surveyed(tmp_path / "b", [(32, 32), (16, 16)], resolution="auto")
    assert icons.fields["image"].shape == (3, 32, 32)
    stated = surveyed(tmp_path / "c", [(640, 480)], resolution=16)
    assert stated.fields["image"].shape == (3, 16, 16)
    assert not stated.remarks()
    assert "resolution" not in stated.facts
    assert Given(("image",)).any_size is False


def test_photographs_are_trained_at_64_pixels_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    from gan.training.dry_run import dry_run

    surveyed(tmp_path / "photos", [(120, 90)] * 3)
    values = api.recipe("image", settings={"data.source": str(tmp_path / "photos")})
    found = dry_run(values, Plugins.installed())
    assert found.fields["image"].shape == (3, 64, 64)
    assert "chosen from pictures" in found.remarks[0]
    Image.new("L", (120, 90), 7).save(tmp_path / "grey.png")
    grey = api.recipe("image", settings={"data.source": str(tmp_path / "grey.png")})
    assert dry_run(grey, Plugins.installed()).fields["image"].shape == (1, 64, 64)
    with pytest.raises(BadData, match="does not exist"):
        dry_run(api.recipe("image", settings={"data.source": str(tmp_path / "none")}), Plugins.installed())
