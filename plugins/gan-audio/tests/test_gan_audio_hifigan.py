"""HiFi-GAN: published sizes, the mel spectrogram in numpy and in torch, the game's terms, and whole recordings."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from gan.contracts import FieldSpec, Given, Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import LeastSquares
from gan.source import SourceFile
from gan_audio.architectures.hifigan import Discriminators, Generator, HiFiGAN, HiFiGANConfig
from gan_audio.metrics.pairs import MelL1
from gan_audio.modality import Audio, AudioConfig

V3 = {"width": 256, "upsampling": [8, 8, 4], "block": 2, "kernels": [3, 5, 7], "dilations": [[1, 2], [2, 6], [3, 12]]}


def modality(**settings):
    return Audio(
        AudioConfig(**{"rate": 8000, "seconds": 0.256, "mel": True, "mel_bands": 40, "mel_hop": 64, **settings})
    )


def small(**settings):
    torch.manual_seed(0)
    sizes = {**V3, "width": 16, "upsampling": [8, 8], "rate": 8000, "discriminator_width": 2, **settings}
    return HiFiGAN(HiFiGANConfig(**sizes), modality().fields)


def folded(module):
    """Parameters after the norms of weight normalisation are multiplied into the weights."""
    return sum(p.numel() for name, p in module.named_parameters() if not name.endswith("original0"))


@pytest.mark.parametrize(
    ("sizes", "plain", "with_norms"),
    [
        ({}, 13_926_017, 13_936_130),
        ({"width": 128}, 925_985, 928_514),
        (V3, 1_462_273, 1_464_322),
        ({**V3, "width": 64}, 118_657, None),
        ({**V3, "width": 32}, 38_753, None),
    ],
)
def test_published_sizes_of_the_generator(sizes, plain, with_norms):
    with torch.device("meta"):
        generator = Generator(HiFiGANConfig(**sizes), 80)
    assert folded(generator) == plain
    assert with_norms in (None, sum(p.numel() for p in generator.parameters()))
    assert generator(torch.zeros(2, 80, 32, device="meta")).shape == (2, 1, 8192)


def test_published_sizes_of_the_discriminators():
    with torch.device("meta"):
        heads = Discriminators(32)
        output = heads(torch.zeros(2, 1, 8192, device="meta"))
    assert folded(heads.periods) == 41_092_165
    assert folded(heads.scales) == 29_610_627
    assert len(output.scores) == 8
    assert len(output.features) == 5 * 6 + 3 * 8


@pytest.mark.parametrize("upsampling", [[5, 3], [8, 4, 2], [7, 7]])
def test_lengths_are_exact_for_odd_factors(upsampling):
    generator = Generator(HiFiGANConfig(**{**V3, "width": 16, "upsampling": upsampling}), 8)
    assert generator(torch.zeros(1, 8, 9)).shape == (1, 1, 9 * int(np.prod(upsampling)))


def test_the_two_mel_spectrograms_agree():
    audio, model = modality(), small()
    sound = (np.random.default_rng(0).standard_normal((1, 2048)) * 3000).astype(np.int16)
    mel = model.mel(torch.from_numpy(sound[None]).float() / 32768)[0]
    assert audio.fields["mel"].mismatch(audio._mel(sound)) == ""
    assert mel.numpy() == pytest.approx(audio._mel(sound), abs=2e-3)
    assert audio._mel(np.zeros((1, 2048), np.int16)) == pytest.approx(np.log(1e-5), abs=1e-4)


def batch(start=0, rows=4):
    rng = np.random.default_rng(1)
    sound = (rng.standard_normal((4, 1, 2048)) * 5000).astype(np.int16)
    fields = {"sound": sound, "mel": np.stack([modality()._mel(row) for row in sound])}
    part = {name: torch.from_numpy(values[start : start + rows]) for name, values in fields.items()}
    return Batch(part, StepDraws(3, 4, start, rows, torch.device("cpu")), 0, 0.0)


def test_terms_have_the_published_weights():
    model = small()
    discriminator, generator = model.phases(LeastSquares(), {})[0].turns
    one = batch()
    assert set(discriminator.objective(one)) >= {"loss", "_real_score", "_fake_score"}
    terms = generator.objective(one)
    fakes = model.generator(one["mel"])
    real = one["sound"].float() / 32768
    mel = 45 * (model.mel(real) - model.mel(fakes)).abs().mean()
    matching = zip(model.discriminator(real).features, model.discriminator(fakes).features, strict=True)
    features = 2 * sum((a - b).abs().mean() for a, b in matching)
    adversarial = sum((1 - score).square().mean() for score in model.discriminator(fakes).scores)
    for name, expected in (("loss", adversarial), ("features", features), ("mel", mel)):
        assert terms[name].item() == pytest.approx(expected.item() / 2, rel=1e-4)


def test_a_warm_up_has_the_distance_of_mel_spectrograms_alone():
    warm_up, adversarial = small(warm_up=64).phases(LeastSquares(), {})
    assert (warm_up.name, warm_up.samples, adversarial.samples) == ("warm-up", 64, None)
    model, one = small(warm_up=64), batch()
    (turn,) = model.phases(LeastSquares(), {})[0].turns
    terms = turn.objective(one)
    of_adversarial = _generator(model, model.phases(LeastSquares(), {})[1].turns[1], one)
    assert set(terms) == {"mel"}
    assert terms["mel"].item() == pytest.approx(of_adversarial["mel"].item(), rel=1e-6)
    assert len(small().phases(LeastSquares(), {})) == 1


def test_quieter_sounds_have_their_own_mel_spectrograms():
    """Factor by factor: the mel spectrogram that the generator is given is that of the sound which is compared."""
    model, one = small(quieter=40.0), batch()
    real, seen = model._reals(one), []
    model.generator.register_forward_hook(lambda module, given, made: seen.append(given[0]))
    model._fakes(one)
    factors = real.flatten(1).norm(dim=1) / (one["sound"].float() / 32768).flatten(1).norm(dim=1)
    assert len({round(float(factor), 4) for factor in factors}) == 4
    assert (factors > 0.0099).all()
    assert (factors < 1).all()
    assert seen[0].numpy() == pytest.approx(model.mel(real).numpy(), abs=0.02)
    assert torch.equal(real, model._reals(one))  # of all turns of an iteration
    assert torch.equal(small()._reals(one), one["sound"].float() / 32768)


def test_scaled_weights_make_a_quiet_sound_of_a_small_generator():
    """With the published deviation of 0.01 a generator of 16 channels is silent, and its output hardly depends on the
    input."""
    mel, levels, changes = batch()["mel"], {}, {}
    for weights in ("published", "scaled"):
        torch.manual_seed(0)
        generator = small(weights=weights).generator
        with torch.no_grad():
            sound, other = generator(mel), generator(mel + torch.randn_like(mel))
        levels[weights] = float(sound.std())
        changes[weights] = float((sound - other).std())
    assert levels["published"] < 1e-3
    assert 0.01 < levels["scaled"] < 0.3
    assert changes["scaled"] > 0.1 * levels["scaled"]


def test_micro_batches_have_the_gradient_of_the_batch():
    model = small()
    for turn in model.phases(LeastSquares(), {})[0].turns:
        found = []
        for parts in (1, 2):
            model.zero_grad()
            for start in range(0, 2, 2 // parts):
                one = batch(start, 2 // parts)
                terms = turn.objective(one) if turn.player == "discriminator" else _generator(model, turn, one)
                (sum(value for name, value in terms.items() if name[0] != "_") / parts).backward()
            found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        # the gradient of an L1 distance is a sign, which rounding turns where the distance is near 0; a part that
        # counted wrongly would be off by half
        assert (found[0] - found[1]).norm() < 1e-2 * found[0].norm()


def _generator(model, turn, one):
    one.shared["fake"] = model._fakes(one)
    return turn.objective(one)


def test_sixty_steps_bring_the_mel_spectrogram_nearer():
    model = small(discriminator_width=2)
    one, optimizer = batch(), torch.optim.AdamW(model.generator.parameters(), 2e-3)
    real = model.mel(one["sound"].float() / 32768)
    distances = []
    for _ in range(60):
        distance = (real - model.mel(model.generator(one["mel"]))).abs().mean()
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
        distances.append(distance.item())
    assert distances[-1] < 0.5 * distances[0]


@pytest.mark.parametrize("frames", [32, 100])
def test_mel_spectrograms_of_any_length_become_sound(frames):
    rng = SeededDraws.of(0, 0, 1, torch.device("cpu"))
    made = small().generate(1, rng, Request(given={"mel": torch.zeros(1, 40, frames)}))
    assert made["sound"].shape == (1, 1, 64 * frames)
    assert made["sound"].dtype == torch.int16
    with pytest.raises(UsageError, match="mel"):
        small().generate(1, rng, Request())


def test_generated_samples_may_be_longer_than_those_of_the_training():
    fields = modality().fields
    bands, frames = fields["mel"].shape
    assert not fields["mel"].mismatch(np.zeros((1, bands, 3 * frames), np.float32), 1)
    assert not fields["sound"].mismatch(np.zeros((1, 1, 3 * fields["sound"].shape[1]), np.int16), 1)


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(UsageError, match="multiplies to 32, and modality.mel_hop is 64"):
        small(upsampling=[8, 4])
    with pytest.raises(UsageError, match="model.rate is 16000, and the data have the log mel magnitude at 8000 Hz"):
        small(rate=16_000)
    with pytest.raises(UsageError, match=r"modality\.mel=true"):
        HiFiGAN(HiFiGANConfig(), {"sound": FieldSpec((1, 64), "int16", -32768, 32767, "a")})
    with pytest.raises(UsageError, match="multiple of modality.mel_hop"):
        _ = modality(seconds=0.25).fields
    with pytest.raises(UsageError, match=r"kernels must be odd"):
        small(kernels=[3, 4, 7])


@pytest.mark.parametrize("seconds", [0.1, 0.256, 1.3])
def test_a_whole_recording_keeps_its_length_and_level(seconds, tmp_path):
    wave = 0.2 * np.sin(2 * np.pi * 300 * np.arange(round(11_025 * seconds)) / 11_025)
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, 11_025)
    file, audio, given = SourceFile("a.wav", path, None, path.stat().st_size), modality(), Given(("mel",))
    (row,) = audio.read_given(file, given)
    assert row["mel"].shape == (40, max(32, -(-round(8000 * seconds) // 64)))
    sound = np.full((1, 64 * row["mel"].shape[1]), 31_130, np.int16)
    (out,) = audio.write_like([{"sound": sound}], tmp_path / "out", file, given)
    back, rate = soundfile.read(out)
    assert rate == 8000
    assert abs(len(back) - 8000 * seconds) <= 1
    assert back.max() == pytest.approx(0.2, abs=0.015)


def test_mel_l1():
    audio = modality()
    one = {name: tensor.numpy() for name, tensor in batch().fields.items()}
    assert MelL1().compute(one, one, audio)[0].value == pytest.approx(0, abs=1e-5)
    louder = {**one, "sound": (one["sound"] * 2).astype(np.int16)}
    assert MelL1().compute(louder, one, audio)[0].value == pytest.approx(np.log(2), abs=0.01)
    with pytest.raises(UsageError, match="recordings"):
        MelL1().compute({"sound": one["sound"]}, one, audio)
