"""Random numbers by counters: those of docs/random-numbers.md, alike for parts of a batch, and random."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from gan import api
from gan.draws import CounterDraws, SeededDraws, _hash, derive, sample_draws
from gan.training.loop_state import LoopState
from scipy import stats

CPU = torch.device("cpu")
PAGE = (Path(__file__).parents[1] / "docs" / "random-numbers.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page():
    """The functions of the page."""
    functions = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, functions)
    return functions


def rows_of_table():
    pattern = r"\| `(\w+)` of ([\d, ]+) \| `(0x\w+)` \| (\d+) \| (\d+) \| (.*) \|"
    return [(m[1], m[2], int(m[3], 16), int(m[4]), int(m[5]), m[6]) for m in re.finditer(pattern, PAGE)]


@pytest.mark.parametrize("row", rows_of_table(), ids=str)
def test_the_page_and_the_implementation_give_the_numbers_of_the_table(page, row):
    name, arguments, key, place, call, result = row
    arguments = [int(value) for value in arguments.split(",")]
    expected = [float(value) for value in result.split(",")]
    assert page[name](key, place, call, *arguments) == pytest.approx(expected, abs=1e-7)
    draws = CounterDraws.of_step(key, place + 2, place, 2, CPU)
    for _ in range(call):
        draws.rand(1)
    if name == "words":
        found = draws._words(*arguments)[0].long() & 0xFFFFFFFF
    else:
        found = getattr(draws, name)(*arguments)[0]
    assert found.tolist() == pytest.approx(expected, abs=2e-6 if name == "randn" else 1e-7)


def test_the_table_is_there():
    assert {row[0] for row in rows_of_table()} == {"words", "rand", "randn", "randint"}


@pytest.mark.parametrize("high", [2, 1000, 10**9, 1 << 62])
def test_integers_are_those_of_the_page(page, high):
    found = CounterDraws.of_step(99, 3, 0, 3, CPU).randint(high, 5)
    assert found[2].tolist() == page["randint"](99, 2, 0, high, 5)
    assert found.dtype == torch.int64


def test_a_part_of_a_batch_gets_its_rows():
    """Of any shape, and of every call; a sample is the same alone and among others."""
    whole, part = CounterDraws.of_step(5, 8, 0, 8, CPU), CounterDraws.of_step(5, 8, 3, 2, CPU)
    for name, arguments in (("randn", (3, 5)), ("rand", ()), ("randint", (7, 2)), ("truncated_normal", (4,))):
        assert torch.equal(getattr(whole, name)(*arguments)[3:5], getattr(part, name)(*arguments))
    assert torch.equal(
        sample_draws("counters", 4, 0, 5, CPU).randn(6)[4:], sample_draws("counters", 4, 4, 1, CPU).randn(6)
    )
    assert isinstance(sample_draws("generators", 4, 0, 5, CPU), SeededDraws)


def test_a_key_may_be_overwritten_on_the_device():
    """As for replays of a captured step."""
    key = torch.tensor([derive(1) & 0x7FFFFFFF, 12], dtype=torch.int32)
    one = CounterDraws(key, 4, 0, 4).randn(3)
    key += 1
    assert not torch.equal(CounterDraws(key, 4, 0, 4).randn(3), one)
    key -= 1
    assert torch.equal(CounterDraws(key, 4, 0, 4).randn(3), one)


def test_the_numbers_are_random():
    """A million uniform and normal numbers against their laws; neighbours in a row, rows, calls and seeds are
    uncorrelated: |r| < 5 / sqrt(number). One flipped bit of a counter or of a key flips half of the bits of a word."""
    draws = CounterDraws.of_step(11, 1000, 0, 1000, CPU)
    uniform, normal, later = draws.rand(1000), draws.randn(1000), draws.randn(1000)
    other = CounterDraws.of_step(12, 1000, 0, 1000, CPU)
    other.rand(1)
    again = other.randn(1000)
    assert 0 <= uniform.min() < 1e-5
    assert 1 - 1e-5 < uniform.max() < 1
    assert stats.kstest(uniform.flatten().numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(normal.flatten().numpy(), "norm").pvalue > 1e-3
    for one, two in (
        (normal, later), (normal, again), (normal[1:], normal[:-1]), (normal[:, 1:], normal[:, :-1]),
        (normal[:, :500], normal[:, 500:]), (normal[:, :500].square() - 1, normal[:, 500:].square() - 1),
    ):  # fmt: skip
        assert abs(np.corrcoef(one.flatten(), two.flatten())[0, 1]) < 5 / one.numel() ** 0.5
    words = torch.arange(4096, dtype=torch.int32)
    keys = torch.tensor(123, dtype=torch.int32), torch.tensor(456, dtype=torch.int32)
    plain = _hash(words, *keys)
    for bit in range(31):
        flip = torch.tensor(1 << bit, dtype=torch.int32)
        for changed in (
            _hash(words ^ flip, *keys),
            _hash(words, keys[0] ^ flip, keys[1]),
            _hash(words, keys[0], keys[1] ^ flip),
        ):
            different = np.unpackbits((plain ^ changed).numpy().view(np.uint8)).reshape(-1, 32).mean(0)
            assert abs(different - 0.5).max() < 0.06
    counts = np.bincount(draws.randint(10, 1000).flatten(), minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_run_keeps_its_way(tmp_path, cache, plugins):
    """Its record is read by resuming and by generating: the first two numbers of sample 3 are its latents'."""
    values = api.recipe("toy", plugins=plugins)
    values["model"] = {"latent": 2, "hidden": 8}
    values["training"] = {"batch": 16, "device": "cpu", "draws": "counters", "preview_ticks": 0}
    values["evaluation"] = {"samples": 4, "artefacts": 1}
    folder = tmp_path / "run"
    api.train(values, out=folder, samples=64, plugins=plugins)
    model = api.load(folder, device="cpu", plugins=plugins)
    assert model.draws == "counters"
    latents = CounterDraws.of_samples(5, 3, 1, CPU).randn(2)
    with torch.no_grad():
        expected = model.architecture.generator(latents)
    np.testing.assert_allclose(model.generate(1, 5, first=3)["points"], expected, atol=1e-5)
    new, old = LoopState(draws="counters"), LoopState(draws="counters")
    new.load_state_dict(LoopState(draws="generators").state_dict())
    assert new.draws == "generators"
    old.load_state_dict({n: v for n, v in LoopState().state_dict().items() if n != "draws"})
    assert old.draws == "generators"
