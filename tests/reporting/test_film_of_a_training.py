"""The film of a training: its previews one after another, of bounded size, whatever the kind of data."""

from __future__ import annotations

import io

import numpy as np
import pytest
from gan import api
from gan.build import recipe_values
from gan.provenance.containers.raster import extract_gif
from gan.recipe import with_settings
from gan.reporting import films
from gan.reporting.films import film_of
from PIL import Image


def previews(folder, count, size=(40, 30)):
    paths = []
    for number in range(count):
        paths.append(folder / f"samples-{number:09d}.png")
        Image.new("RGB", size, (number * 2, 0, 255 - number * 2)).save(paths[-1])
    return paths


def frames(content):
    with Image.open(io.BytesIO(content)) as film:
        found = []
        for index in range(film.n_frames):
            film.seek(index)
            found.append((film.convert("RGB").getpixel((0, 0)), film.info["duration"]))
        return film.size, found


def test_a_film_shows_at_most_a_hundred_previews_evenly(tmp_path):
    """Of 125 the first, the last and 98 between them; the last one stays for a second more."""
    content = film_of(previews(tmp_path, 125))
    size, found = frames(content)
    assert size == (40, 30)
    reds = [pixel[0] for pixel, _ in found]
    assert (reds[0], reds[-1]) == (0, 248)
    assert len(dict.fromkeys(reds)) == 100
    assert sum(duration for _, duration in found) == pytest.approx(1000 * (100 / 12 + 1), abs=60)
    assert content == film_of(previews(tmp_path, 125)), "the same previews give the same bytes"


def test_a_film_is_made_smaller_until_it_fits(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (3, 300, 900, 3), np.uint8)
    paths = []
    for number, pixels in enumerate(noise):
        paths.append(tmp_path / f"samples-{number:09d}.png")
        Image.fromarray(pixels).save(paths[-1])
    size, _ = frames(film_of(paths))
    assert size == (640, 213)
    monkeypatch.setattr(films, "FILM_BYTES", 200_000)
    content = film_of(paths)
    assert len(content) <= 200_000
    assert frames(content)[0][0] >= 64


def test_damaged_and_other_previews_do_not_hinder_it(tmp_path):
    paths = previews(tmp_path, 3)
    paths[1].write_bytes(b"damaged")
    Image.new("RGB", (20, 60)).save(paths[2])  # a page of text that is longer than another
    size, found = frames(film_of(paths))
    assert size == (40, 60)
    assert len(found) >= 2
    assert film_of(paths[:2]) is None
    assert film_of([]) is None


def test_a_run_writes_the_film_of_its_training(plugins, cache, tmp_path):
    """The same sixteen samples before, during and after it; the file says that it was generated."""
    settings = ["training.samples=256", "training.batch=32", "training.tick=64", "training.preview_ticks=1",
                "model.hidden=8", "training.watch=off", "evaluation.samples=16"]  # fmt: skip
    result = api.train(with_settings(recipe_values(plugins, "toy"), settings), out=tmp_path / "run", plugins=plugins)
    film = tmp_path / "run" / "film.gif"
    assert film in result.pictures
    assert len(list((tmp_path / "run" / "previews").glob("samples-*.png"))) == 5
    size, found = frames(film.read_bytes())
    assert size == (256, 256)
    assert sum(duration for _, duration in found) == 5 * 500 + 1000  # equal frames are joined
    assert '"model":"toy/mlp"' in extract_gif(film.read_bytes())
    assert "film.gif" in (tmp_path / "run" / "page" / "index.html").read_text(encoding="utf-8")
