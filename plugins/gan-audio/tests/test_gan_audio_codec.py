"""The codec: published sizes, streaming, bit rates, codebooks, the balancer, micro-batches, and whole recordings."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from gan.contracts import Given, Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import Hinge
from gan.source import SourceFile
from gan_audio.architectures.codec import Codec, CodecConfig, CodecOptions, Decoder, Discriminators, Encoder
from gan_audio.metrics.codes import CodebookUse
from gan_audio.metrics.pairs import MelL1, SignalToDistortion, SpectralConvergence, signal_to_distortion
from gan_audio.modality import Audio, AudioConfig
from gan_audio.networks.balancer import Balancer
from gan_audio.networks.codebooks import Codebooks, code_statistics
from gan_audio.networks.spectral import MultiScaleMel, magnitudes

CPU = torch.device("cpu")
SMALL = {
    "width": 4, "ratios": [2, 4, 4], "size": 8, "lstm": 1, "stages": 4, "codes": 16, "choices": [1, 2, 4],
    "discriminator_width": 2, "transforms": [256, 64],
}  # fmt: skip


def modality(**settings):
    return Audio(AudioConfig(**{"rate": 8000, "seconds": 0.128, "trim": 0, **settings}))


def small(**settings):
    torch.manual_seed(0)
    return Codec(CodecConfig(**{**SMALL, **settings}), modality().fields)


def folded(module):
    """Parameters after the norms of weight normalisation are multiplied into the weights."""
    return sum(p.numel() for name, p in module.named_parameters() if not name.endswith("original0"))


@pytest.mark.parametrize(
    ("sizes", "of_encoder", "of_decoder"),
    [
        ({}, 7_423_472, 7_423_345),
        ({"ratios": [4, 4, 5, 8], "width": 64}, 28_787_552, 28_787_425),
        ({"width": 8, "size": 64, "lstm": 1}, 362_588, 362_525),
    ],
)
def test_published_sizes(sizes, of_encoder, of_decoder):
    config = CodecConfig(**sizes)
    with torch.device("meta"):
        encoder, decoder = Encoder(config, 1), Decoder(config, 1)
        vectors = encoder(torch.zeros(2, 1, 6400, device="meta"))
        assert vectors.shape[:2] == (2, config.size)
        assert decoder(vectors).shape == (2, 1, 6400)
    assert (folded(encoder), folded(decoder)) == (of_encoder, of_decoder)


@pytest.mark.parametrize(("width", "count"), [(32, 94_337), (8, 6_305)])
def test_sizes_of_the_discriminators(width, count):
    """A head has 283,011 / 3 parameters with 32 channels, and 18,915 / 3 with 8."""
    heads = Discriminators([2048, 1024, 512, 256, 128], width)
    output = heads(torch.zeros(1, 1, 2048))
    assert folded(heads) == 5 * count
    assert len(output.scores) == 5
    assert len(output.features) == 25


def test_a_recording_in_parts_is_the_recording():
    """The networks are causal, and their state continues them: to 1e-5, whatever the parts are."""
    model = small().eval()
    waves = torch.randn(2, 1, 1280)
    with torch.no_grad():
        whole = model.encoder(waves)
        state = {}
        parts = torch.cat([model.encoder(part, state) for part in waves.split([32, 640, 608], 2)], 2)
        assert (whole - parts).abs().max() < 1e-5 * whole.abs().max()
        sound = model.decoder(whole)
        state = {}
        parts = torch.cat([model.decoder(part, state) for part in whole.split([1, 17, 22], 2)], 2)
        assert (sound - parts).abs().max() < 1e-5 * sound.abs().max()
        waves[..., 640:] = 0  # what comes later changes nothing before
        assert torch.equal(model.encoder(waves)[..., :20], whole[..., :20])


# ------------------------------------------------------------------ codebooks


def learned(books, vectors, updates=1, stages=None):
    """`books` after some updates with ``(N, size, T)``."""
    for number in range(updates):
        batch = Batch({}, StepDraws(number, len(vectors), 0, len(vectors), CPU), 0, 0.0)
        books.observe(batch, vectors, stages)
        books.learn(batch.observed, StepDraws(1000 + number, len(vectors), 0, len(vectors), CPU))
    return books


def test_codes_become_the_means_of_what_they_encode():
    """1,500 updates with one batch: 0.99^1500 = 3e-7 of the way is left."""
    torch.manual_seed(0)
    vectors = torch.randn(6, 2, 1)[torch.randint(6, (8,))].repeat(1, 1, 5) + 1e-3 * torch.randn(8, 2, 5)
    books = learned(Codebooks(1, 4, 2, least=1, rarest=4), vectors, 1500)
    flat = vectors.transpose(1, 2).reshape(-1, 2)
    chosen = books.nearest(0, flat)
    for code in chosen.unique():
        assert torch.allclose(flat[chosen == code].mean(0), books.vectors[0, code], atol=1e-4)


def test_codes_nest_and_errors_fall_with_stages():
    torch.manual_seed(0)
    vectors = torch.randn(16, 4, 8)
    books = learned(Codebooks(4, 16, 4, least=2, rarest=8), vectors, 30)
    found = [books(vectors, stages) for stages in range(1, 5)]
    errors = [(one.vectors - vectors).square().mean().item() for one in found]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]
    assert torch.equal(found[0].codes, found[3].codes[:, :1])
    assert torch.allclose(books.decode(found[1].codes), found[1].vectors, atol=1e-5)
    mixed = books(vectors, torch.tensor([1, 4] * 8))
    assert torch.allclose(mixed.vectors[0], found[0].vectors[0], atol=1e-6)
    assert torch.allclose(mixed.vectors[1], found[3].vectors[1], atol=1e-6)
    assert (mixed.codes[0, 1:] == -1).all()
    assert torch.allclose(books.decode(mixed.codes), mixed.vectors, atol=1e-5)


def test_the_gradient_passes_and_the_commitment_pulls():
    books = learned(Codebooks(2, 8, 4, least=2, rarest=8), torch.randn(8, 4, 6))
    vectors = torch.randn(3, 4, 5, requires_grad=True)
    found = books(vectors)
    (gradient,) = torch.autograd.grad(found.vectors.sum(), vectors, retain_graph=True)
    assert torch.equal(gradient, torch.ones_like(gradient))
    (pull,) = torch.autograd.grad(found.commitment, vectors)
    first = books(vectors, 1).vectors.detach()
    expected = 2 * ((vectors - first) + (vectors - found.vectors)) / vectors.numel()
    assert torch.allclose(pull, expected, atol=1e-6)


def test_codes_that_are_hardly_used_are_drawn_anew():
    """Even use is 8 for a code, and 1 the least, with which codes begin; after 5 updates with about 8 uses each they
    count 1 + 0.05 · 7 = 1.35. When the vectors move away, all of them are near to one code, and the others are drawn
    anew after some 30 updates, as 1.35 · 0.99^30 = 1."""
    torch.manual_seed(0)
    near = torch.randn(8, 2, 16) * 0.1
    books = learned(Codebooks(1, 16, 2, least=2, rarest=8), near, 5)
    assert code_statistics(books(near).codes, 16)[0] > 0.8
    far = near + 10
    learned(books, far, 5)
    assert code_statistics(books(far).codes, 16)[0] < 0.2
    learned(books, far, 60)
    use, entropy = code_statistics(books(far).codes, 16)
    assert use > 0.8
    assert entropy > 3


@pytest.mark.parametrize("count", [2, 100])
def test_the_first_update_makes_codes_of_few_and_of_many_vectors(count):
    books = Codebooks(1, 32, 3, least=2, rarest=8)
    assert not books.ready()
    learned(books, torch.randn(count, 3, 4))
    assert books.ready()
    assert torch.isfinite(books.vectors).all()
    assert len(books.vectors[0].unique(dim=0)) == 32


def test_statistics_of_codes():
    use, entropy = code_statistics(torch.tensor([0, 1, 0, 1, -1]), 4)
    assert use.item() == 0.5
    assert entropy.item() == pytest.approx(1.0)


# ------------------------------------------------------------------ balancer


def balanced(weights, losses, output, updates=1):
    balancer = Balancer(weights)
    for _ in range(updates + 1):
        batch = Batch({}, StepDraws(0, len(output), 0, len(output), CPU), 0, 0.0)
        value, _ = balancer.combine(batch, output, losses)
        balancer.learn(batch.observed)
    return value


def test_balanced_gradients_do_not_depend_on_scales():
    """|x - 1| and 100 |x + 1| at 0 with equal weights: gradients -1 and 1 of equal norm, whose halves cancel. The test
    of the authors; without balance it would be 99."""
    x = torch.zeros(1, 1, requires_grad=True)
    losses = lambda y: {"a": (y - 1).abs().mean(), "b": 100 * (y + 1).abs().mean()}  # noqa: E731
    value = balanced({"a": 1.0, "b": 1.0}, losses, x)
    assert value.item() == pytest.approx(101)
    assert torch.autograd.grad(value, x)[0].item() == pytest.approx(0, abs=1e-6)
    value = balanced({"a": 3.0, "b": 1.0}, losses, x)
    assert torch.autograd.grad(value, x)[0].item() == pytest.approx(-0.75 + 0.25, abs=1e-6)


def test_weights_are_shares_of_a_gradient_of_norm_one():
    x = torch.randn(4, 1, 50, requires_grad=True)
    value = balanced({"a": 2.0}, lambda y: {"a": 17 * y.square().mean()}, x, updates=3)
    norms = torch.autograd.grad(value, x)[0].flatten(1).norm(dim=1)
    assert norms.mean().item() == pytest.approx(1.0, rel=1e-4)


# ------------------------------------------------------------------ the game


def batch(start=0, rows=4):
    rng = np.random.default_rng(1)
    sound = (rng.standard_normal((4, 1, 1024)) * 5000).astype(np.int16)
    return Batch({"sound": torch.from_numpy(sound[start : start + rows])}, StepDraws(3, 4, start, rows, CPU), 0, 0.0)


def taught(**settings):
    """A codec after the first iteration, which only learns, and its turns."""
    model = small(**settings)
    turns = model.phases(Hinge(), {})[0].turns
    one = batch()
    assert not turns[1].when(one)
    turns[0].objective(one)
    turns[1].objective(one)
    turns[1].learn(one.observed, StepDraws(9, 4, 0, 4, CPU))
    assert turns[1].when(one)
    return model, turns


def test_micro_batches_observe_and_move_as_the_batch():
    model, (_, turn) = taught()
    found = []
    for parts in (1, 2):
        model.zero_grad()
        observed = {}
        for start in range(0, 4, 4 // parts):
            one = batch(start, 4 // parts)
            terms = turn.objective(one)
            (sum(value for name, value in terms.items() if name[0] != "_") / parts).backward()
            for name, value in one.observed.items():
                observed[name] = observed.get(name, 0) + value
        gradient = torch.cat([p.grad.flatten() for p in model.encoder.parameters()])
        found.append((observed, gradient))
    (whole, one), (sums, other) = found
    assert whole.keys() == sums.keys()
    for name in whole:
        assert torch.allclose(whole[name], sums[name], rtol=1e-4, atol=1e-4)
    assert (one - other).norm() < 1e-2 * one.norm()


def test_the_warm_up_passes_vectors_and_learns_their_codes():
    codec = small(warm_up=24)
    warm_up, game = codec.phases(Hinge(), {})
    assert (warm_up.name, warm_up.samples, game.samples) == ("warm-up", 24, None)
    assert game.reset_optimizers
    (turn,) = warm_up.turns
    assert turn.player == "generator"
    sounds = torch.randint(-9000, 9000, (2, 1, 1024), dtype=torch.int16)
    batch = Batch({"sound": sounds}, StepDraws(0, 2, 0, 2, CPU), 0, 0.0)
    terms = turn.objective(batch)
    waves = sounds / 32_768
    assert torch.equal(terms["time"], (waves - codec.decoder(codec.encoder(waves))).abs().mean())
    assert not codec.codebooks.ready()
    turn.learn(batch.observed, StepDraws(1, 2, 0, 2, CPU))
    assert codec.codebooks.ready()
    assert [phase.name for phase in small().phases(Hinge(), {})] == ["adversarial"]


def test_the_output_depends_on_the_input_from_the_start():
    codec = small(width=16)
    waves = torch.randn(8, 1, 1024) * torch.rand(8, 1, 1)
    with torch.no_grad():
        vectors = codec.encoder(waves)
    assert vectors.std((0, 2)).mean() > 0.8 * vectors.abs().mean()  # 0.5 with the weights of PyTorch


def test_the_losses_of_an_update():
    model, (critic, turn) = taught(choices=[])
    one = batch()
    critic.objective(one)
    terms = turn.objective(one)
    real = one["sound"].float() / 32768
    vectors = model.encoder(real)
    made = model.decoder(model.codebooks(vectors).vectors)
    expected = {
        "_time": (real - made).abs().mean(),
        "_spectrum": model.spectrum(real, made),
        "_adversarial": -torch.stack([score.mean() for score in model.discriminators(made).scores]).mean(),
    }
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-3, abs=1e-5)
    assert set(terms) == {"balanced", "commitment", "_features", *expected}


def test_the_spectral_loss():
    loss = MultiScaleMel(8000, [64, 256])
    one = torch.randn(3, 1, 1000) * 0.1
    assert loss(one, one).item() == 0
    assert loss(one, 10 * one).item() == pytest.approx(np.log(10) + np.log(10) ** 2, rel=0.2)  # but for empty bands
    quiet = torch.zeros(1, 1, 1000, requires_grad=True)
    magnitudes(quiet, torch.hann_window(64), 16).sum().backward()
    assert torch.isfinite(quiet.grad).all()


# ------------------------------------------------------------------ use


def generate(model, sound, **options):
    request = Request(CodecOptions(**options), {"sound": torch.from_numpy(sound)})
    return model.eval().generate(len(sound), SeededDraws.of(0, 0, len(sound), CPU), request)


def test_bit_rates():
    """8,000 Hz / 32 = 250 frames a second of 4 bits: 1 kbit/s for a stage."""
    model = small()
    assert model.kbps == 1
    sound = np.random.default_rng(0).integers(-9999, 9999, (1, 1, 1000)).astype(np.int16)
    with torch.no_grad():
        made = [generate(model, sound, kbps=rate) for rate in (1, 3.9, None)]
    assert [one["codes"].shape for one in made] == [(1, stages, 32) for stages in (1, 3, 4)]
    assert all(one["sound"].shape == (1, 1, 1000) for one in made)
    with pytest.raises(UsageError, match="from 1 to 4 kbit/s"):
        generate(model, sound, kbps=0.5)
    values = CodebookUse().compute(model, {n: v.numpy() for n, v in made[1].items()}, {}, modality())
    assert values[0].value == pytest.approx(3.0, rel=0.03)


def test_long_recordings_are_coded_part_by_part(monkeypatch):
    model, _ = taught()
    sound = np.random.default_rng(0).integers(-9999, 9999, (2, 1, 2050)).astype(np.int16)
    with torch.no_grad():
        whole = generate(model, sound)
        monkeypatch.setattr(model, "rate", 40)  # parts of ten seconds at this rate
        parts = generate(model, sound)
    assert (whole["codes"] == parts["codes"]).float().mean() > 0.99
    assert (whole["sound"].float() - parts["sound"]).abs().median() <= 1


def test_a_recording_keeps_its_length_and_level(tmp_path):
    wave = 0.2 * np.sin(2 * np.pi * 300 * np.arange(11_025) / 11_025)
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, 11_025)
    file, audio, given = SourceFile("a.wav", path, None, path.stat().st_size), modality(), Given(("sound",))
    (row,) = audio.read_given(file, given)
    assert row["sound"].shape == (1, 8000)
    (out,) = audio.write_like([row], tmp_path / "out", file, given)
    back, rate = soundfile.read(out)
    assert (rate, len(back)) == (8000, 8000)
    assert back.max() == pytest.approx(0.2, abs=0.01)


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(UsageError, match="multiple of 30"):
        small(ratios=[5, 6])
    with pytest.raises(UsageError, match="at least 2,048"):
        small(transforms=[2048])
    with pytest.raises(UsageError, match="choices must be at most"):
        small(choices=[8])
    with pytest.raises(UsageError, match="a file must be given"):
        small().generate(1, SeededDraws.of(0, 0, 1, CPU), Request())


# ------------------------------------------------------------------ metrics of pairs


def test_metrics_of_pairs():
    """A tenth of the level: SI-SDR does not change, the log distance is ln 10, the convergence 20 log10 0.9."""
    wave = (np.random.default_rng(0).standard_normal((2, 1, 8000)) * 3000).astype(np.int16)
    tenth = np.rint(wave / 10).astype(np.int16)
    pairs = {"sound": tenth, "original": wave}
    audio = modality(seconds=1.0)
    assert SignalToDistortion().compute(pairs, {}, audio)[0].value > 45
    convergence, distance = SpectralConvergence().compute(pairs, {}, audio)
    assert convergence.value == pytest.approx(20 * np.log10(0.9), abs=0.02)
    assert distance.value == pytest.approx(np.log(10), abs=0.02)
    assert MelL1().compute(pairs, {}, audio)[0].value == pytest.approx(np.log(10), abs=0.05)
    noise = wave[0, 0].astype(np.float32) / 32768
    other = np.random.default_rng(1).standard_normal(8000).astype(np.float32) * noise.std()
    assert signal_to_distortion(noise + 0.1 * other, noise) == pytest.approx(20, abs=0.5)
    assert signal_to_distortion(noise, noise) == 120
    for metric in (SignalToDistortion(), SpectralConvergence(), MelL1()):
        with pytest.raises(UsageError, match="made from"):
            metric.compute({"sound": wave}, {"sound": wave}, audio)
