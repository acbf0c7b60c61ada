"""Pairs and domains: how they are read, which are refused, what is measured on them, and their trainings end to end."""

from __future__ import annotations

import json
import os
import signal
import zipfile
from pathlib import Path

import gan
import numpy as np
import pytest
from gan.api import resume_run
from gan.cli import main
from gan.contracts import FieldSpec
from gan.data.packing import open_pack
from gan.errors import BadData, Stopped
from gan.reporting.reporter import Reporter, Tick
from gan.source import Companion, list_source
from gan_image.metrics.pairs import L1, PSNR, SSIM, CycleError, l1, psnr, ssim
from gan_image.modality import ImageConfig, ImageModality
from PIL import Image


def picture(path: Path, value: int, size: tuple[int, int] = (32, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)
    return path


def pack_of(folder: Path, tmp_path: Path, **config):
    settings = ImageConfig(**{"resolution": 32, "channels": 1, **config})
    return open_pack(folder, ImageModality, settings, "image", cache=tmp_path / "cache")


def noise(path: Path, size: tuple[int, int] = (12, 12)) -> Image.Image:
    """Instance normalisation makes all pictures of one colour alike, so some tests want others."""
    found = Image.fromarray(np.random.default_rng(size[0]).integers(0, 256, size[::-1], dtype=np.uint8))
    found.save(path)
    return found


def values(array: np.ndarray) -> list[int]:
    return [int(row.mean()) for row in array]


# ---------------------------------------------------------------------------- reading


@pytest.mark.parametrize(("direction", "source", "target"), [("ab", 10, 200), ("ba", 200, 10)])
def test_pairs_side_by_side(tmp_path: Path, direction: str, source: int, target: int):
    both = Image.new("L", (64, 32), 10)
    both.paste(200, (32, 0, 64, 32))
    (tmp_path / "data").mkdir()
    both.save(tmp_path / "data" / "a.png")
    Image.new("L", (33, 32)).save(tmp_path / "data" / "odd.png")
    pack = pack_of(tmp_path / "data", tmp_path, layout="side-by-side", direction=direction)
    found = pack.take(np.arange(1))
    assert (values(found["source"]), values(found["target"])) == ([source], [target])
    assert "split into" in pack.skipped["odd.png"]


@pytest.mark.parametrize("zipped", [False, True])
def test_pairs_in_two_folders_have_equal_names(tmp_path: Path, zipped: bool):
    """Endings may differ, sizes too; who has no partner is named; nobody is read twice."""
    data = tmp_path / "data"
    for number in range(3):
        picture(data / "left" / "deep" / f"{number}.png", number, (40, 20))
        picture(data / "right" / "deep" / f"{number}.{'bmp' if number else 'png'}", 100 + number)
    picture(data / "left" / "alone.png", 7)
    picture(data / "right" / "lonely.png", 7)
    root = data
    if zipped:
        root = tmp_path / "all.zip"
        with zipfile.ZipFile(root, "w") as archive:
            for path in sorted(data.rglob("*.*")):
                archive.write(path, path.relative_to(data).as_posix())
    pack = pack_of(root, tmp_path, layout="folders")
    found = pack.take(np.arange(len(pack)))
    assert values(found["source"]) == [0, 1, 2]
    assert values(found["target"]) == [100, 101, 102]
    assert set(pack.skipped) == {"left/alone.png", "right/lonely.png"}
    assert all("no counterpart" in reason for reason in pack.skipped.values())


def test_the_second_of_a_pair_is_a_companion(tmp_path: Path):
    picture(tmp_path / "a" / "1.png", 1)
    picture(tmp_path / "b" / "1.png", 2)
    files = list_source(tmp_path, ImageModality.suffixes).files
    config = ImageConfig(resolution=32, layout="folders")
    modality = ImageModality(config, ImageModality(config).survey(files))
    with pytest.raises(Companion):
        list(modality.read(files[1]))


def test_domains_of_any_sizes_are_drawn_apart(tmp_path: Path):
    """Five pictures and two: every pass over either holds each once, and partners change from pass to pass."""
    for number in range(5):
        picture(tmp_path / "data" / "x" / f"{number}.png", number)
    for number in range(2):
        picture(tmp_path / "data" / "y" / f"{number}.png", 100 + number)
    pack = pack_of(tmp_path / "data", tmp_path, layout="unpaired")
    assert (len(pack), pack.sizes) == (5, [5, 2])
    from gan.data.order import Order

    order = Order(pack.sizes, 0)
    found = pack.take(order.indices(0, 20))
    sources, targets = values(found["source"]), values(found["target"])
    for start in range(0, 20, 5):
        assert sorted(sources[start : start + 5]) == [0, 1, 2, 3, 4]
    for start in range(0, 20, 2):
        assert sorted(targets[start : start + 2]) == [100, 101]
    assert len(set(zip(sources, targets))) > 5
    pieces = [pack.take(order.indices(position, 1)) for position in range(20)]
    assert [values(piece["target"])[0] for piece in pieces] == targets
    kept, out = pack.split(0.3)
    assert all(a + b == whole and a and b for a, b, whole in zip(kept.sizes, out.sizes, pack.sizes))


def test_one_picture_may_be_a_domain(tmp_path: Path):
    picture(tmp_path / "data" / "x" / "0.png", 5)
    for number in range(3):
        picture(tmp_path / "data" / "y" / f"{number}.png", 100)
    pack = pack_of(tmp_path / "data", tmp_path, layout="unpaired", direction="ba")
    assert values(pack.take(np.arange(3))["target"]) == [5, 5, 5]


def test_wrong_layouts_are_refused_with_what_was_found(tmp_path: Path):
    picture(tmp_path / "one" / "only" / "0.png", 5)
    with pytest.raises(BadData, match="needs two folders with images, found: only"):
        pack_of(tmp_path / "one", tmp_path, layout="unpaired")
    picture(tmp_path / "loose" / "0.png", 5)
    picture(tmp_path / "loose" / "a" / "0.png", 5)
    with pytest.raises(BadData, match="outside of a folder"):
        pack_of(tmp_path / "loose", tmp_path, layout="folders")
    picture(tmp_path / "broken" / "a" / "0.png", 5)
    (tmp_path / "broken" / "b").mkdir()
    (tmp_path / "broken" / "b" / "0.png").write_bytes(b"no picture")
    with pytest.raises(BadData, match="no sample of target"):
        pack_of(tmp_path / "broken", tmp_path, layout="unpaired")
    with pytest.raises(BadData, match="damaged header"):
        pack_of(tmp_path / "broken", tmp_path, layout="folders")


def test_grey_among_colour_becomes_colour(tmp_path: Path):
    Image.new("RGB", (32, 32), (9, 0, 0)).save(picture(tmp_path / "data" / "a" / "0.png", 0))
    picture(tmp_path / "data" / "b" / "0.png", 50)
    pack = pack_of(tmp_path / "data", tmp_path, layout="folders", channels="auto")
    found = pack.take(np.arange(1))
    assert found["source"][0, :, 0, 0].tolist() == [9, 0, 0]
    assert found["target"][0, :, 0, 0].tolist() == [50, 50, 50]


# ---------------------------------------------------------------------------- metrics


def test_metrics_by_hand():
    """A constant difference of 0.1 is an L1 of 0.1 and 20 dB; SSIM of two constants is its luminance term."""
    dark, light = np.full((2, 3, 16, 16), 0.4), np.full((2, 3, 16, 16), 0.5)
    assert np.allclose(l1(dark, light), 0.1)
    assert np.allclose(psnr(dark, light), 20)
    c1 = 0.01**2
    assert np.allclose(ssim(dark, light), (2 * 0.4 * 0.5 + c1) / (0.4**2 + 0.5**2 + c1))
    noise = np.random.default_rng(0).random((2, 1, 16, 16))
    assert np.allclose(ssim(noise, noise), 1)
    assert np.allclose(ssim(noise, 1 - noise), ssim(1 - noise, noise))
    assert ssim(noise, 1 - noise).max() < 0
    assert np.allclose(psnr(dark, dark), 100)
    with pytest.raises(BadData, match="window"):
        ssim(dark[..., :8], light[..., :8])


def test_metrics_compare_with_the_partner_in_order():
    modality = ImageModality(ImageConfig(resolution=16, channels=1, layout="side-by-side"))
    random = np.random.default_rng(1).integers(0, 256, (2, 3, 1, 16, 16), dtype=np.uint8)
    real = {"source": random[0], "target": random[1]}
    same = {"source": random[0], "target": random[1]}
    assert L1().compute(same, real, modality)[0].value == 0
    (value,) = L1().compute({"source": random[0], "target": random[0]}, real, modality)
    assert value.value == value.details["source"] > 0
    assert SSIM().compute(same, real, modality)[0].value == pytest.approx(1)
    assert PSNR().compute(same, real, modality)[0].value == 100
    with pytest.raises(BadData, match="in the same order"):
        L1().compute({"source": random[0][::-1], "target": random[1][::-1]}, real, modality)
    (back,) = L1().compute({"source": random[0] // 2, "target": random[1]}, real, modality)  # direction ba
    assert back.value == pytest.approx(np.abs(random[0] // 2 - random[0].astype(float)).mean() / 255)
    assert set(back.details) == {"target"}
    unpaired = ImageModality(ImageConfig(resolution=16, channels=1, layout="unpaired"))
    with pytest.raises(BadData, match="needs pairs"):
        L1().compute(same, real, unpaired)
    again = {**same, "reconstruction": np.clip(random[0].astype(int) + 51, 0, 255).astype(np.uint8)}
    (error,) = CycleError().compute(again, real, unpaired)
    assert 0.2 < error.value < 0.4  # at most 2 · 51/255
    with pytest.raises(BadData, match="provide a reconstruction"):
        CycleError().compute(same, real, unpaired)


def test_a_tile_shows_source_translation_and_what_came_back():
    pictures = np.zeros((4, 1, 64, 64), np.uint8)
    modality = ImageModality(ImageConfig(resolution=64, channels=1, layout="unpaired"))
    preview = modality.preview({"source": pictures, "target": pictures, "reconstruction": pictures + 9})
    assert preview.size == (64 * 3 + 4, 4 * 66 + 2)


# ---------------------------------------------------------------------------- end to end


class StopAt(Reporter):
    """Asks the run to stop, as a user would, at the tick of so many samples."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def tick(self, tick: Tick) -> None:
        if tick.samples == self.samples:
            os.kill(os.getpid(), signal.SIGTERM)


def trained(tmp_path: Path, architecture: str, stop_at: int = 0, **changes) -> Path:
    rng = np.random.default_rng(0)
    data = tmp_path / "data"
    for side in "ab":
        (data / side).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).save(data / side / f"{number}.png")
    sizes = {"generator_width": 2, "discriminator_width": 2, "layers": 1}
    sizes |= {
        "cyclegan": {"blocks": 1, "pool": 5},
        "cut": {"blocks": 1, "contrast_layers": [0, 2], "patches": 8, "head_width": 4},
        "pix2pix": {},
    }[architecture]
    values = {
        "plugin": "image",
        "architecture": architecture,
        "modality": {"resolution": 32, "layout": "folders" if architecture == "pix2pix" else "unpaired"},
        "data": {"source": str(data)},
        "model": sizes,
        "loss": {"name": "hinge"},
        "training": {"samples": 12, "batch": 2, "tick": 2, "checkpoint_ticks": 1, "ema_half_life": 4, "device": "cpu"},
        "evaluation": {"artefacts": 2, "samples": 2, "metrics": []},
        **changes,
    }
    try:
        return gan.train(values, out=tmp_path / "run", reporter=StopAt(stop_at)).run
    except Stopped:
        return tmp_path / "run"


@pytest.mark.parametrize("architecture", ["cyclegan", "pix2pix", "cut"])
def test_translate_keeps_names_and_sizes(tmp_path: Path, monkeypatch, capsys, architecture: str):
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    run = trained(tmp_path, architecture)
    picture(tmp_path / "in" / "deep" / "wide.png", 100, (50, 20))
    picture(tmp_path / "in" / "deep" / "wide.bmp", 100, (20, 50))
    noise(tmp_path / "in" / "small.png", (9, 9))
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")

    def translate(out: str, *more: str) -> tuple[int, str, str]:
        command = ["translate", str(run), "--input", str(tmp_path / "in"), "--out", str(tmp_path / out), "--json"]
        with pytest.raises(SystemExit) as end:
            main([*command, *more])
        return int(end.value.code or 0), *capsys.readouterr()

    code, told, warned = translate("out")
    assert code == 0, warned
    assert "broken.png" in warned
    told = json.loads(told)
    written = {Path(path).relative_to(tmp_path / "out").as_posix(): path for path in told["artefacts"]}
    assert set(written) == {"deep/wide-png.png", "deep/wide-bmp.png", "small.png"}
    assert list(told["skipped"]) == ["broken.png"]
    sizes = {name: Image.open(path).size for name, path in written.items()}
    assert sizes == {"deep/wide-png.png": (50, 20), "deep/wide-bmp.png": (20, 50), "small.png": (9, 9)}
    assert translate("again")[0] == 0
    for name in written:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    if architecture == "cyclegan":
        assert translate("back", "--direction", "ba")[0] == 0
        assert (tmp_path / "back" / "small.png").read_bytes() != (tmp_path / "out" / "small.png").read_bytes()
    assert translate("in")[0] == 2
    assert translate("wrong", "--directon", "ba")[0] == 2

    model = gan.load(run)
    made = model.translate(noise(tmp_path / "noise.png"))
    assert made["target"].shape == (1, 1, 32, 32)
    assert (model.translate(tmp_path / "in" / "small.png")["target"] != made["target"]).any()


@pytest.mark.parametrize("architecture", ["cyclegan", "pix2pix", "cut"])
def test_loss_and_penalty_are_the_recipes_business(tmp_path: Path, monkeypatch, architecture: str):
    """A relativistic loss, whose generator sees real scores, and a lazy penalty: nothing but the recipe names them."""
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    changes = {"loss": {"name": "relativistic-average"}, "penalties": [{"name": "r1", "weight": 1.0, "every": 2}]}
    records = (trained(tmp_path / "run", architecture, **changes) / "metrics.jsonl").read_text().splitlines()
    terms = json.loads(records[0])["terms"]
    assert terms["discriminator/r1"] > 0
    plain = (trained(tmp_path / "plain", architecture) / "metrics.jsonl").read_text().splitlines()
    assert "discriminator/r1" not in json.loads(plain[0])["terms"]


@pytest.mark.rule("R7")
@pytest.mark.parametrize("architecture", ["cyclegan", "pix2pix", "cut"])
def test_resume_is_exact_while_the_pool_fills_and_after(tmp_path: Path, monkeypatch, architecture: str):
    """Twelve samples at once, and stopped after four, when the pool of five is not full, or after eight, when it is."""
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    whole = state_of(trained(tmp_path / "whole", architecture))
    for stop_at in (2, 6):
        run = trained(tmp_path / f"stopped-{stop_at}", architecture, stop_at)
        before = state_of(run)
        if architecture == "cyclegan":
            assert int(before["architecture"]["target_pool.filled"]) == (4 if stop_at == 2 else 5)
        resume_run(run)
        assert_equal(state_of(run), whole)
        with pytest.raises(AssertionError):
            assert_equal(before, whole)


@pytest.mark.rule("R7")
def test_resume_is_exact_with_latent_vectors_and_their_candidates(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    changes = {
        "model": {"generator_width": 2, "discriminator_width": 2, "layers": 1, "upsample": "nearest", "latent": 2}
        | {"candidates": 2, "feature_weight": 1.0, "discriminator_norm": "none"},
        "penalties": [{"name": "r1", "weight": 1.0, "every": 2}],
    }
    whole = state_of(trained(tmp_path / "whole", "pix2pix", **changes))
    run = trained(tmp_path / "stopped", "pix2pix", 6, **changes)
    resume_run(run)
    assert_equal(state_of(run), whole)


def state_of(run: Path) -> dict:
    from gan.storage.checkpoint import Checkpoints

    newest = Checkpoints(run / "checkpoints").newest()
    return {owner: newest.state(owner) for owner in newest.owners if owner not in ("progress", "stats")}


def assert_equal(first, second) -> None:
    import torch

    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for a, b in zip(first, second):
            assert_equal(a, b)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


def test_single_pictures_need_no_partner(tmp_path: Path):
    modality = ImageModality(ImageConfig(resolution=32, channels=1))
    assert modality.fields == {"image": FieldSpec((1, 32, 32), "uint8", 0, 255, "intensity")}
