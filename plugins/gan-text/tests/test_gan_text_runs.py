"""Whole runs: every phase is resumed exactly, every recipe fits, artefacts are texts."""

from __future__ import annotations

import json
import shutil

import gan
import pytest
import torch
from gan.api import resume_run
from gan.errors import UsageError
from gan.plugins.manager import Plugins
from gan.recipe import Recipe, parse_yaml, validated
from gan_text.metrics.nll import NLLTest
from gan_text.oracle import FILE, draw_oracle, load_oracle, oracle_samples, write_oracle_data
from safetensors.numpy import load_file

TINY_SEQGAN = {
    "embedding": 4, "hidden": 4, "discriminator_embedding": 4, "filters": [[1, 3], [2, 3]], "negatives": 24,
    "renew": 16, "rollouts": 2, "generator_interval": 3, "deviation": 0.5,
}  # fmt: skip
TINY = {
    "seqgan": (TINY_SEQGAN, {"mle": 32, "discriminator": 40, "adversarial": 80}, "non-saturating"),
    "relgan": (
        {"embedding": 4, "head_width": 4, "representations": 2, "widths": [2], "filters": 3, "critic_repeats": 2},
        {"mle": 32, "adversarial": 64},
        "relativistic-pairing",
    ),
    "gpt-seqgan": (
        {
            "layers": 1,
            "heads": 1,
            "width": 8,
            "dropout": 0.2,
            "filters": [[1, 3]],
            "negatives": 24,
            "renew": 16,
            "generator_interval": 3,
        },
        {"mle": 32, "discriminator": 40, "adversarial": 80},
        "non-saturating",
    ),
    "gpt-spin": (
        {"layers": 1, "heads": 1, "width": 8, "dropout": 0.2, "renew": 24, "likelihood": 0.5},
        {"mle": 32, "self-play": 64},
        "non-saturating",
    ),
    "gpt-gad": (
        {"layers": 1, "heads": 1, "width": 8, "dropout": 0.2, "group": 2, "prompt": 1},
        {"mle": 32, "discriminator": 32, "adversarial": 64},
        "relativistic-pairing",
    ),
    "mle": ({"embedding": 4, "hidden": 4}, {}, "non-saturating"),
    "gpt": ({"layers": 1, "heads": 1, "width": 8, "dropout": 0.2}, {}, "non-saturating"),
}


@pytest.fixture
def oracle_data(tmp_path, monkeypatch):
    """A small oracle's data set."""
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "oracle"
    folder.mkdir()
    write_oracle_data(folder, draw_oracle(30, 4), count=64, length=5)
    return folder


def recipe(name, data):
    model, phases, loss = TINY[name]
    return {
        "plugin": "text", "architecture": name, "seed": 3, "model": model, "loss": loss,
        "modality": {"tokens": "numbers", "vocabulary": 30, "length": 5},
        "data": {"source": str(data)},
        "phases": {phase: {"samples": samples} for phase, samples in phases.items()},
        "training": {
            "samples": 64, "batch": 8, "tick": 8, "checkpoint_ticks": 1, "keep_checkpoints": 100, "preview_ticks": 0,
        },
        "evaluation": {"metrics": ["nll-oracle", "self-bleu"], "samples": 8, "artefacts": 2},
    }  # fmt: skip


def weights(run):
    newest = sorted((run / "checkpoints").glob("samples-*"))[-1]
    found = {}
    for file in sorted(newest.rglob("*.safetensors")):
        found |= {f"{file.name}/{name}": value.tobytes() for name, value in load_file(file).items()}
    return newest.name, found


@pytest.mark.parametrize("name", list(TINY))
def test_a_run_that_was_stopped_anywhere_ends_the_same(name, oracle_data, tmp_path):
    """Forget everything after a checkpoint inside each phase and go on: the end is bit-identical.

    The sets of negatives, the rollout policy and the optimisers are part of what is compared.
    """
    run = tmp_path / "run"
    gan.train(recipe(name, oracle_data), out=run)
    end, wanted = weights(run)
    assert any("negatives" in key for key in wanted) == (name in ("seqgan", "gpt-seqgan"))
    checkpoints = sorted((run / "checkpoints").glob("samples-*"))
    start = 0
    for phase in (TINY[name][1] or {"only": 64}).values():
        middle = start + (phase // 16) * 8  # inside the phase, at a checkpoint
        start += phase
        again = tmp_path / f"again-{middle}"
        shutil.copytree(run, again)
        for checkpoint in checkpoints:
            if int(checkpoint.name.removeprefix("samples-")) > middle:
                shutil.rmtree(again / "checkpoints" / checkpoint.name)
        (again / "evaluation" / "result.json").unlink()
        assert weights(again)[0] != end
        resume_run(again)
        name_of_end, found = weights(again)
        assert name_of_end == end
        assert found == wanted


def test_a_run_ends_with_texts_and_the_oracles_opinion(oracle_data, tmp_path):
    result = gan.train(recipe("seqgan", oracle_data), out=tmp_path / "run")
    assert [value.name for value in result.metrics][0] == "nll-oracle"
    assert result.metrics[0].value > 0
    for artefact in result.artefacts:
        numbers = artefact.read_text().split()
        assert len(numbers) == 5
        assert all(0 <= int(number) < 30 for number in numbers)
    (oracle_data / FILE).unlink()  # without its oracle the run says so, and the rest is measured
    again = gan.train(recipe("seqgan", oracle_data), out=tmp_path / "again")
    broken, *others = again.metrics
    assert broken.value != broken.value  # not a number
    assert "missing" in broken.details["error"]
    assert all(value.value == value.value for value in others)


def test_the_models_own_likelihood_is_a_metric(oracle_data, tmp_path):
    """NLL-test is the mean over the real tokens, NLL-gen that over fresh sequences, with the oracle's as its floor.

    Both are computed here from the loaded weights in another way: whole logits, one sequence at a time.
    """
    values = recipe("mle", oracle_data)
    values["evaluation"] |= {"metrics": ["nll-test", "nll-gen"], "real_samples": 0}
    result = gan.train(values, out=tmp_path / "run")
    test, gen = result.metrics
    architecture = gan.load(tmp_path / "run").architecture

    def nats(network, rows):
        picked = [network(row[None]).log_softmax(2)[0].gather(1, row[:, None]).mean() for row in rows]
        return float(-torch.stack(picked).mean())

    lines = (oracle_data / "sentences.txt").read_text().splitlines()
    rows = torch.tensor([[int(word) for word in line.split()] for line in lines])
    with torch.no_grad():
        assert test.value == pytest.approx(nats(architecture.generator, rows), rel=1e-5)
        oracle = load_oracle(oracle_data / FILE)
        fresh = torch.from_numpy(oracle_samples(oracle, len(rows), 5, 1))
        assert not torch.equal(fresh, rows)
        assert gen.value == pytest.approx(nats(architecture.generator, fresh), rel=1e-5)
        assert gen.real == pytest.approx(nats(oracle, fresh), rel=1e-5)
    assert gen.real < gen.value


@pytest.mark.parametrize("lengths", [[3, 3, 3, 3], [0, 1, 4, 2]])
def test_the_error_of_a_likelihood_is_that_of_a_ratio(lengths):
    """Texts of equal length: the standard error of a mean. Ragged ones: the mean is over tokens, not over texts."""

    class ConditionEmbedding(torch.nn.Linear):
        def nll(self, samples):
            tokens = samples["length"].double() + 1
            return samples["tokens"].double().sum(1), tokens

    tokens = torch.tensor([[1, 0], [3, 0], [2, 2], [5, 1]])
    real = {"tokens": tokens.numpy(), "length": torch.tensor(lengths).numpy()}
    (value,) = NLLTest().compute(ConditionEmbedding(1, 1), real, real, None)
    assert value.value == pytest.approx(14 / (sum(lengths) + 4))
    if len(set(lengths)) == 1:
        means = tokens.sum(1).double() / 4
        assert value.error == pytest.approx(float(means.std()) / 2)
    with pytest.raises(UsageError, match="has no `nll`"):
        NLLTest().compute(torch.nn.Linear(1, 1), real, real, None)


def test_every_recipe_fits_its_architecture():
    plugins = Plugins.installed()
    offered = plugins.entries("gan_recipes", "text")
    assert sum(plugin_entry.entry.default for plugin_entry in offered) == 1
    for plugin_entry in offered:
        values = parse_yaml(plugins.resource(plugin_entry), plugin_entry.entry.name)
        typed = validated(Recipe, values, "")
        assert typed.architecture == plugin_entry.entry.architecture
        architecture = plugins.load(plugins.find("gan_architectures", typed.architecture, "text"))
        modality = plugins.load(plugins.find("gan_modalities", "text"))
        validated(architecture.Config, typed.model, "model")
        validated(modality.Config, typed.modality, "modality")
        for metric in typed.evaluation.metrics or modality.metrics:
            plugins.find("gan_metrics", metric)


def test_the_default_data_are_pythons_reference(tmp_path):
    from gan_text.data.datasets import python_reference

    python_reference(tmp_path, None)
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(tmp_path.iterdir()))
    assert len(text) > 300_000
    assert 'The "while" statement' in text
    assert min(path.stat().st_size for path in tmp_path.iterdir()) > 700


def test_a_prompt_reaches_the_text(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.txt").write_text("to be or not to be that is the question\n" * 8)
    values = {
        "plugin": "text", "architecture": "gpt", "model": {"layers": 1, "heads": 1, "width": 8},
        "modality": {"tokens": "characters", "items": "running", "length": 16},
        "data": {"source": str(tmp_path / "a.txt")},
        "training": {"samples": 16, "batch": 8, "preview_ticks": 0},
        "evaluation": {"metrics": [], "samples": 4, "artefacts": 1},
    }  # fmt: skip
    run = gan.train(values, out=tmp_path / "run")
    model = gan.load(run)
    options = {"prompt": "to be", "max_length": 40, "temperature": 0.5, "top_k": 3}
    made = model.generate(3, seed=1, options=options)
    alone = model.generate(1, seed=1, first=2, options=options)
    written = [model.modality.text({k: v[i] for k, v in made.items()}) for i in range(3)]
    assert all(len(text) == 40 for text in written)
    assert all(text.startswith("to be") for text in written)
    assert model.modality.text({k: v[0] for k, v in alone.items()}) == written[2]
    json.dumps(json.loads((tmp_path / "run" / "manifest.json").read_text()), allow_nan=False)
