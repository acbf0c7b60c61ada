"""What is made from an input: which rows an architecture sees, what is written, and what users may choose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gan.contracts import FieldSpec, Given, GivenInPart, Modality, Request
from gan.errors import UsageError
from gan.generation.chosen import split_flags
from gan.generation.model import Model
from gan.source import SourceFile
from pydantic import BaseModel, Field
from torch import nn

CPU = torch.device("cpu")


class Lines(Modality):
    """A text file of numbers: a sample for each pair in a line."""

    class Config(BaseModel):
        """Nothing to set."""

    class GivenOptions(BaseModel):
        """Which line."""

        model_config = {"extra": "forbid"}
        line: int = Field(0, description="Number of the line.")

    suffixes = (".txt",)
    whole_input = "go_on_with"

    @property
    def fields(self):
        return {"pair": FieldSpec((2,), "float32", -100, 100, "number", names=("left", "right"))}

    def read(self, file):
        for line in file.data().decode().splitlines():
            for number in line.split():
                yield {"pair": np.array([float(number), 0], np.float32)}

    def read_given(self, file, given):
        assert given.fields == ("pair",)
        assert given.places == {"pair": (0,)}
        for number in file.data().decode().splitlines()[given.options.line].split():
            yield {"pair": np.array([float(number), 0], np.float32)}

    def write(self, sample, stem, options=None):
        path = stem.with_name(stem.name + ".txt")
        path.write_text(" ".join(f"{value:g}" for value in sample["pair"]))
        return path

    def preview(self, samples):
        raise NotImplementedError


class Beside(nn.Module):
    """Puts its latent beside the given number."""

    Config = Lines.Config
    generation_batch = 4

    def players(self):
        return {}

    def phases(self, loss, penalties):
        return []

    def given_fields(self, options=None):
        return ("pair",)

    def given_places(self, options=None):
        return {"pair": [0]}

    def latents(self, count, rng):
        return rng.randn(2)

    def decode(self, latents, request):
        return {"pair": torch.stack([request.given["pair"][:, 0], latents[:, 0]], 1)}

    def generate(self, count, rng, request):
        return self.decode(self.latents(count, rng), request)


class Drawn(Beside):
    """The same without a latent space."""

    latents = decode = None

    def generate(self, count, rng, request):
        return {"pair": torch.stack([request.given["pair"][:, 0], rng.randn()], 1)}


def model(architecture=Beside) -> Model:
    return Model(architecture(), Lines(Lines.Config()), "lines/beside", CPU)


@pytest.fixture
def numbers(tmp_path: Path) -> SourceFile:
    path = tmp_path / "numbers.txt"
    path.write_text("1 2 3\n4 5 6 7 8 9 10\n")
    return SourceFile(path.name, path, None, path.stat().st_size)


def pairs(count: int) -> dict[str, np.ndarray]:
    return {"pair": np.stack([np.arange(count), np.zeros(count)], 1).astype(np.float32)}


def test_latents_of_what_belongs_together_lie_on_one_way():
    """Seven rows in batches of four: every row has its own input, and latents at equal steps of the great circle from
    one drawn latent to another."""
    found = model().follow(pairs(7), 5, index=2)["pair"]
    assert found[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    from gan.draws import SeededDraws
    from gan.latents import slerp

    rng = SeededDraws.of(5, 2, 1, CPU)
    begin, end = rng.randn(2), rng.randn(2)
    wanted = slerp(begin.expand(7, 2), end.expand(7, 2), torch.linspace(0, 1, 7))[:, 0]
    assert np.allclose(found[:, 1], wanted, atol=1e-6)
    assert not np.allclose(model().follow(pairs(7), 5, index=3)["pair"][:, 1], found[:, 1])
    assert np.array_equal(model().follow(pairs(1), 5, index=2)["pair"][0, 1], begin[0, 0].numpy())


def test_without_latents_each_row_has_draws_of_its_own():
    found = model(Drawn).follow(pairs(6), 5)["pair"]
    assert found[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert len(set(found[:, 1].tolist())) == 6


class Continues(nn.Module):
    """Goes on from a number that may be given, or from 0."""

    optional_input = ("pair",)

    def generate(self, count, rng, request):
        begin = torch.zeros(count, 2) if request.given is None else request.given["pair"]
        return {"pair": begin + 1}

    def stream(self, rng, request):
        yield self.generate(1, rng, request)


def test_an_input_may_be_optional(tmp_path):
    made = model(Continues)
    assert made.generate(2)["pair"].tolist() == [[1, 1], [1, 1]]
    assert made.generate(3, given=pairs(3))["pair"][:, 0].tolist() == [1, 2, 3]
    assert made.given().fields == ("pair",)
    assert made.input_fields() == ()
    with pytest.raises(UsageError, match="must have 2 rows"):
        made.generate(2, given=pairs(3))
    with pytest.raises(UsageError, match="takes no input"):
        Model(WithoutInput(), Lines(Lines.Config()), "lines/none", CPU).generate(3, given=pairs(3))
    paths, samples = made.write_stream(tmp_path, 2, given=pairs(2))
    assert [path.read_text() for path in paths] == ["1 1", "2 1"]
    assert samples["pair"].tolist() == [[1, 1], [2, 1]]


class WithoutInput(Continues):
    """The same without an input."""

    optional_input = ()


def test_rendered_file_holds_what_was_made_of_the_chosen_part(numbers, tmp_path):
    made = model()
    assert isinstance(made.architecture, GivenInPart)
    given = made.given(input_options={"line": 1})
    assert (given.fields, given.places, given.options.line) == (("pair",), {"pair": (0,)}, 1)
    paths, samples = made.render(numbers, tmp_path / "out" / "x", given, 3)
    assert [path.name for path in paths] == [f"x-{index:04d}.txt" for index in range(7)]
    assert [path.read_text().split()[0] for path in paths] == ["4", "5", "6", "7", "8", "9", "10"]
    assert np.array_equal(samples["pair"], made.follow(pairs(7) | {"pair": samples["pair"]}, 3)["pair"])
    (alone,) = made.modality.write_like([{"pair": np.ones(2)}], tmp_path / "y", numbers, given)
    assert alone.name == "y.txt"


def test_translate_gives_the_field_of_which_a_part_is_made(numbers):
    found = model().translate(numbers.path, input_options={"line": 0})
    assert found["pair"][:, 0].tolist() == [1, 2, 3]


def test_choices_are_flags_and_unknown_ones_are_refused():
    found = split_flags(model(), {"line": "1"})
    assert (found.options, found.conditions, found.input_options, found.output_options) == ({}, {}, {"line": "1"}, None)
    with pytest.raises(UsageError, match="did you mean --go-on-with"):
        split_flags(model(), {"go_on_wit": "x"})
    with pytest.raises(UsageError, match="line"):
        model().given(input_options={"line": "first"})


def test_default_reading_gives_the_given_fields_only(tmp_path):
    class Two(Lines):
        read_given = Modality.read_given

        def read(self, file):
            yield {"pair": np.zeros(2), "more": np.ones(1)}

    (row,) = Two(Lines.Config()).read_given(SourceFile("a", tmp_path), Given(("more",)))
    assert list(row) == ["more"]


def test_an_architecture_without_input_says_so():
    class Free(Beside):
        def given_fields(self, options=None):
            return ()

        def generate(self, count, rng, request: Request):
            return {"pair": rng.randn(2)}

    with pytest.raises(UsageError, match="takes no input; leave it out, or use a run"):
        model(Free).given()
