"""VQ-VAE and Jukebox: published sizes, losses, windows of codes, streams, clips that are continued, times, labels."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from gan.contracts import Continued, Given, Request, Streams
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import Hinge
from gan.source import SourceFile
from gan_audio.architectures import vqvae
from gan_audio.architectures.jukebox import Jukebox, JukeboxConfig, JukeboxOptions, _Codes
from gan_audio.architectures.vqvae import VQVAE, VQVAEConfig, VQVAEOptions
from gan_audio.metrics.codes import CodeBits, CodebookUse
from gan_audio.modality import Audio, AudioConfig, AudioOptions
from gan_audio.networks.prior import Known, Prior, choose, entropy
from gan_audio.networks.spectral import MultiSpectral

CPU = torch.device("cpu")
NETS = {"downs": [3, 2], "width": 4, "depth": 2, "size": 8, "codes": 16, "transforms": [(128, 30, 64)]}
TRANSFORMERS = {"layers": 2, "heads": 2, "prior_width": 16, "conditioner_width": 4, "conditioner_depth": 3}


def modality(**settings):
    return Audio(AudioConfig(**{"rate": 8000, "seconds": 0.128, "trim": 0, "long": "windows", **settings}))


def sounds(count=4, samples=1024):
    """Two tones of different pitch in each."""
    rng = np.random.default_rng(0)
    time = np.arange(samples) / 8000
    waves = [
        np.sin(2 * np.pi * rng.uniform(100, 900) * time) + 0.3 * rng.standard_normal(samples) for _ in range(count)
    ]
    return torch.from_numpy((np.stack(waves) * 9000).astype(np.int16)[:, None])


def batch(start=0, rows=4, seed=3, **fields):
    whole = {"sound": sounds(), **fields}
    part = {name: values[start : start + rows] for name, values in whole.items()}
    return Batch(part, StepDraws(seed, 4, start, rows, CPU), 0, 0.0)


def taught(model, updates=3):
    """The model after the first updates of its codebooks."""
    turn = model.phases(Hinge(), {})[0].turns[0]
    for number in range(updates):
        one = batch(seed=number)
        turn.objective(one)
        turn.learn(one.observed, StepDraws(100 + number, 4, 0, 4, CPU))
    assert turn.when(one)
    return model


def autoencoder(**settings):
    torch.manual_seed(0)
    return VQVAE(VQVAEConfig(**{**NETS, **settings}), modality().fields)


def jukebox(fields=None, **settings):
    torch.manual_seed(0)
    return taught(Jukebox(JukeboxConfig(**{**NETS, **TRANSFORMERS, **settings}), fields or modality().fields)).eval()


# ------------------------------------------------------------------ the autoencoder


@pytest.mark.parametrize(
    ("settings", "count", "hops"),
    [
        ({}, 586_050, [32, 256]),
        ({"downs": [3, 2, 2], "codes": 2048, "multipliers": [2, 1, 1]}, 1_485_763, [8, 32, 128]),
    ],
)
def test_published_sizes(settings, count, hops):
    model = VQVAE(VQVAEConfig(**settings), modality(seconds=1.024).fields)
    assert sum(p.numel() for p in model.parameters()) == count
    assert model.autoencoder.hops == hops


def test_the_losses_of_an_update():
    """Squared errors relative to the variance, spectral distances relative to the norms, both learned before."""
    model = taught(autoencoder(worst_weight=0.02, worst=10), 1)
    net = model.autoencoder
    waves = sounds().float() / 32768
    terms = net.turn().objective(batch())
    spectral = MultiSpectral(NETS["transforms"])
    for number, level in enumerate(net.levels):
        vectors = level.encode(waves)
        made = level.decode(level.codebook(vectors).vectors)
        errors = (waves - made).square()
        variance = waves.square().mean()
        assert terms[f"squares{number}"].item() == pytest.approx((errors.mean() / variance).item(), rel=1e-4)
        worst = 0.02 * errors.flatten(1).topk(10, 1).values.mean() / variance
        assert terms[f"worst{number}"].item() == pytest.approx(worst.item(), rel=1e-4)
        relative = spectral(waves, made).mean() / spectral.norm(waves).mean()
        assert terms[f"spectrum{number}"].item() == pytest.approx(relative.item(), rel=1e-3)
    assert spectral(waves, waves).abs().max() == 0


def test_micro_batches_observe_and_move_as_the_batch():
    model = taught(autoencoder())
    turn, found = model.autoencoder.turn(), []
    for parts in (1, 2):
        model.zero_grad()
        observed = {}
        for start in range(0, 4, 4 // parts):
            one = batch(start, 4 // parts)
            terms = turn.objective(one)
            (sum(value for name, value in terms.items() if name[0] != "_") / parts).backward()
            for name, value in one.observed.items():
                observed[name] = observed.get(name, 0) + value
        found.append((observed, torch.cat([p.grad.flatten() for p in model.parameters()])))
    (whole, one), (sums, other) = found
    assert all(torch.allclose(whole[name], sums[name], rtol=1e-4, atol=1e-4) for name in whole)
    assert (one - other).norm() < 1e-3 * one.norm()


@pytest.mark.parametrize("level", [0, 1])
def test_recordings_in_parts_are_coded_as_whole_ones(level, monkeypatch):
    """The waveform of a code depends on no code further away than `reach`."""
    net = taught(autoencoder()).autoencoder.eval()
    waves = sounds(1, 9000).float() / 32768
    with torch.no_grad():
        codes = net.encode(waves, level)
        whole = net.decode(codes, level)
        monkeypatch.setattr(vqvae, "PART", 13)
        assert torch.equal(net.encode(waves, level), codes)
        assert (net.decode(codes, level) - whole).abs().max() < 1e-5


def test_vqvae_makes_recordings_again(tmp_path):
    model = taught(autoencoder()).eval()
    given = {"sound": sounds(2, 1500)}
    with torch.no_grad():
        fine, coarse = (
            model.generate(2, SeededDraws.of(0, 0, 2, CPU), Request(VQVAEOptions(level=level), given))
            for level in (0, 1)
        )
    assert fine["sound"].shape == coarse["sound"].shape == (2, 1, 1500)
    assert (fine["codes"].shape, coarse["codes"].shape) == ((2, 1, 188), (2, 1, 47))
    values = CodebookUse().compute(model, {n: v.numpy() for n, v in fine.items()}, {}, modality())
    assert values[0].value == pytest.approx(4.0, rel=0.01)  # 1,000 codes of 4 bits a second
    with pytest.raises(UsageError, match="levels 0 to 1"):
        model.generate(2, SeededDraws.of(0, 0, 2, CPU), Request(VQVAEOptions(level=2), given))
    with pytest.raises(UsageError, match="multiple of 2,048"):
        autoencoder(downs=[3, 8])


# ------------------------------------------------------------------ transformers


def prior(**settings):
    torch.manual_seed(0)
    return Prior(11, 12, 16, 2, 2, 0.0, **settings).eval()


def test_a_prior_sees_what_is_before_and_its_label():
    net, codes = prior(classes=3), torch.arange(24).view(2, 12) % 11
    logits = net(codes, Known(torch.tensor([0, 2])))
    changed = codes.clone()
    changed[:, 7] = 5
    other = net(changed, Known(torch.tensor([0, 2])))
    assert torch.allclose(logits[:, :8], other[:, :8], atol=1e-5)
    assert not torch.allclose(logits[:, 8], other[:, 8], atol=1e-3)
    assert not torch.allclose(logits[0, 0], logits[1, 0], atol=1e-4)
    nats = net.nll(codes, Known(torch.tensor([0, 2])))
    own = -torch.log_softmax(logits, 2).gather(2, codes[..., None])[..., 0].mean(1)
    assert torch.allclose(nats, own, atol=1e-5)
    assert nats.mean().item() == pytest.approx(math.log(11), abs=0.3)


def test_sampling_follows_the_logits():
    """With a uniform number of 0 the first of the possible codes is chosen; with a tiny `top_p` the likeliest."""
    net, before = prior(), torch.tensor([[3, 1], [4, 1]])
    uniforms = torch.rand(2, 10)
    made = net.sample(before, uniforms, Known(), top_p=1e-6)
    whole = torch.cat([before, made], 1)
    assert torch.equal(net(whole, Known())[:, 2:].argmax(2), made)
    both = net.sample(before, uniforms, Known())
    assert torch.equal(both[1:], net.sample(before[1:], uniforms[1:], Known()))
    assert torch.equal(choose(torch.zeros(3, 4), torch.tensor([0.0, 0.49, 0.999])), torch.tensor([0, 1, 3]))


def test_times_are_bins_of_length_position_and_share():
    """Of 64 bins, 30 of 60 seconds are bin 32; 20 of 40 seconds are half of the recording, also bin 32."""
    net = prior(seconds=1.0, longest=60.0)
    beside = net.beside(12, Known(begin=torch.tensor([20.0]), duration=torch.tensor([40.0])))
    total, now, share = (table.weight for table in net.times)
    assert torch.allclose(beside[0, 0], total[42] + now[21] + share[32], atol=1e-6)
    assert torch.allclose(beside[0, 10], total[42] + now[32] + share[48], atol=1e-6)


def test_entropy():
    assert entropy(torch.tensor([0, 1, 2, 3]), 8) == pytest.approx(2.0)


# ------------------------------------------------------------------ jukebox


def test_phases_and_what_they_train():
    model = jukebox()
    phases = model.phases(Hinge(), {})
    assert [phase.name for phase in phases] == ["autoencoder", "prior", "upsampler0"]
    assert [tuple(phase.adopt) for phase in phases] == [(), ("autoencoder",), ()]
    terms = phases[1].turns[0].objective(batch())
    assert terms["_bits"].item() == pytest.approx(4, abs=0.5)  # log2 of 16 codes, before the training
    gradient = torch.autograd.grad(terms["nll"], list(model.priors[1].parameters()), allow_unused=True)
    assert sum(one is not None for one in gradient) > 20
    codes, known = model._window(batch().fields, 0)
    assert (codes.shape, known.above.shape) == ((4, 32), (4, 8))
    whole = model.autoencoder.encode(sounds()[..., :256].float() / 32768, 0)
    assert torch.equal(codes, whole)


def generate(model, count=2, first=0, given=None, **options):
    rng = SeededDraws.of(5, first, count, CPU)
    with torch.no_grad():
        return model.generate(count, rng, Request(JukeboxOptions(**options), given))


@pytest.mark.parametrize(("downs", "seconds"), [([5], 0.5), ([3, 2], 0.2), ([3, 1, 1], 0.2)])
def test_sounds_of_any_length_in_parts(downs, seconds):
    """In several windows of 32 codes; a sample does not depend on the others."""
    model = jukebox(downs=downs)
    assert isinstance(model, Streams)
    made = generate(model, seconds=seconds)["sound"]
    assert made.shape == (2, 1, round(8000 * seconds))
    assert (made[1:].float() - generate(model, 1, 1, seconds=seconds)["sound"]).abs().max() <= 2
    assert not torch.equal(made[0], made[1])
    rng = SeededDraws.of(5, 0, 1, CPU)
    with torch.no_grad():
        parts = [part["sound"] for part in model.stream(rng, Request(JukeboxOptions(seconds=seconds)))]
    assert len(parts) > 3
    assert (torch.cat(parts, 2)[0].float() - made[0]).abs().max() <= 2
    with pytest.raises(UsageError, match=r"the shortest sound has 0\.128 s"):
        generate(model, seconds=0.1)


def test_a_clip_is_continued():
    """The codes of the clip stay; what follows depends on them."""
    model = jukebox()
    clip = sounds(2, 1300)
    made = generate(model, given={"sound": clip}, seconds=0.4)["sound"]
    assert made.shape == (2, 1, 3200)
    net = model.autoencoder
    with torch.no_grad():
        codes = net.encode(clip[..., :1280].float() / 32768, 0)
        begin = net.decode(codes, 0)
        longer = [generate(model, given={"sound": one}, seconds=0.4)["sound"] for one in (clip, clip.flip(0))]
    reach = net.levels[0].reach * net.hops[0]
    inner = slice(0, 1280 - reach)
    assert (made[..., inner].float() - (begin[..., inner].clamp(-1, 1) * 32767)).abs().max() < 2
    assert not torch.equal(longer[0][..., 1280:], longer[1][..., 1280:])
    assert generate(model, given={"sound": clip})["sound"].shape == (2, 1, 1280 + 1024)
    with pytest.raises(UsageError, match="the clip must have"):
        generate(model, given={"sound": clip[..., :20]})
    with pytest.raises(UsageError, match="shortest"):
        generate(model, given={"sound": clip}, seconds=0.15)


def test_classes_and_times(tmp_path):
    audio = modality(timing=True, mel_hop=64, labels="folder")
    audio.facts = {"classes": ["bell", "kick"]}
    fields = audio.fields
    model = jukebox(fields)
    model.priors[1].labels.weight.data *= 100  # as a training would
    model.priors[1].model.wte.weight.data *= 50  # and choices that are not even
    made = generate(model, given={"label": torch.tensor([0, 1])}, seconds=0.3)
    assert made["elapsed"].shape == (2, 38)
    assert made["elapsed"][0, :3].tolist() == pytest.approx([0, 0.008, 0.016])
    assert made["duration"].tolist() == pytest.approx([0.3, 0.3])
    others = generate(model, given={"label": torch.tensor([1, 1])}, seconds=0.3)
    assert not torch.equal(made["sound"][0], others["sound"][0])
    assert torch.equal(made["sound"][1], others["sound"][1])
    times = {"elapsed": torch.zeros(4, 16), "duration": torch.ones(4), "label": torch.tensor([0, 1, 0, 1])}
    codes, known = model._window(batch(**times).fields, 1)
    early = model.priors[1](codes, known)
    times["elapsed"] += 0.5
    late = model.priors[1](*model._window(batch(**times).fields, 1))
    assert not torch.allclose(early, late, atol=1e-4)


def test_times_of_recordings(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.5 * np.sin(np.arange(9000) / 5), 8000)
    file = SourceFile("a.wav", path, None, path.stat().st_size)
    first, *rest = modality(timing=True, mel_hop=64).read(file)
    assert not any(isinstance(part, Continued) for part in [first])
    elapsed = np.concatenate([part["elapsed"] for part in (first, *rest)])
    assert elapsed == pytest.approx(np.arange(141) * 0.008)
    assert float(first["duration"]) == pytest.approx(9000 / 8000)
    with pytest.raises(UsageError, match="timing needs"):
        _ = modality(timing=True, long="pieces").fields
    (given,) = modality().read_given(file, Given(("sound",)))
    assert given["sound"].shape == (1, 9000)


def test_bits_of_codes():
    model = jukebox()
    values = CodeBits().compute(model, {}, {"sound": sounds().numpy()}, modality())
    assert [value.name for value in values] == ["bits (prior)", "bits (upsampler0)"]
    assert all(3 < value.value < 5 for value in values)
    assert all(0 < value.details["entropy of codes"] <= 4 for value in values)
    with pytest.raises(UsageError, match="transformer over codes"):
        CodeBits().compute(autoencoder(), {}, {"sound": sounds().numpy()}, modality())


def test_codes_that_are_made_on_demand():
    codes = _Codes(iter(torch.arange(12).view(1, 12).split(5, 1)), 12)
    assert codes.get(1, 3).tolist() == [[1, 2]]
    assert codes.more() == 10
    assert codes.get(4, 12).tolist() == [list(range(4, 12))]
    assert codes.more() == 12


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_streams_have_the_bytes_of_the_whole(suffix, tmp_path):
    audio, options = modality(), AudioOptions(format=suffix)
    sound = (np.random.default_rng(0).standard_normal((1, 150_000)) * 3000).astype(np.int16)
    whole = audio.write({"sound": sound}, tmp_path / "a", options)
    parts = iter({"sound": part} for part in np.split(sound, [10, 70_000, 140_001], 1))
    streamed = audio.write_stream(parts, tmp_path / "b", options)
    assert streamed.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_the_commands_of_the_readme(tmp_path):
    """Trained for a few updates: seconds, class, stream, a clip that is continued, bits of codes."""
    run = tmp_path / "run"
    settings = [
        "modality.labels=folder", "modality.seconds=0.512", "model.layers=1", "model.prior_width=32", "model.width=8",
        "training.samples=32", "model.autoencoder_samples=32", "model.upsampler_samples=32", "evaluation.samples=8",
        "evaluation.artefacts=2",
    ]  # fmt: skip
    flags = [part for setting in settings for part in ("--set", setting)]
    gan(["run", "--plugin", "audio", "--recipe", "jukebox", "--out", str(run), *flags, "--quiet"])
    receipts = (run / "evaluation" / "receipts.json").read_text(encoding="utf-8")
    assert "bits (prior)" in receipts
    assert "bits (upsampler0)" in receipts
    whole, streamed, longer = (tmp_path / name for name in ("whole", "streamed", "longer"))
    asked = ["generate", str(run), "--seconds", "1.5", "--class", "bell", "--count", "1"]
    gan([*asked, "--out", str(whole)])
    gan([*asked, "--stream", "--out", str(streamed)])
    clip = whole / "sample-0000.wav"
    one, rate = soundfile.read(clip)
    other, _ = soundfile.read(streamed / "sample-0000.wav")
    assert (len(one), rate) == (12_000, 8_000)
    assert np.abs(one - other).max() < 1e-3
    gan(["generate", str(run), "--input", str(clip), "--seconds", "2", "--count", "1", "--top-p", "0.9", "--stream",
         "--out", str(longer)])  # fmt: skip
    assert len(soundfile.read(longer / "sample-0000.wav")[0]) == 16_000


def gan(arguments):
    subprocess.run([sys.executable, "-m", "gan", *arguments], check=True, timeout=200)


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(UsageError, match="heads 3 does not divide"):
        jukebox(heads=3)
    with pytest.raises(UsageError, match="model.context is 33 codes"):
        jukebox(context=33)
    with pytest.raises(UsageError, match=r"model\.crop 100 samples"):
        jukebox(crop=100)
