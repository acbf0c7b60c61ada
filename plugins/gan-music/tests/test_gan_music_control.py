"""What control needs of music: probabilities, parts of latents, and attributes of phrases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.contracts import FieldSpec, Request
from gan.draws import SeededDraws
from gan_music.architectures.framegan import FrameGAN, FrameGANConfig
from gan_music.architectures.musegan import MuseGAN, MuseGANConfig
from gan_music.attributes import densities, key_clarities, polyphonies, registers
from gan_music.modality import Music

CPU = torch.device("cpu")
NAMES = ("soprano", "alto")
FIELDS = {"roll": FieldSpec((2, 2, 8, 24), "bool", 0, 1, "note on", names=NAMES)}


@pytest.mark.parametrize(
    "net",
    [
        lambda: FrameGAN(FrameGANConfig(latent=8, width=16, binarisation="threshold"), FIELDS),
        lambda: MuseGAN(MuseGANConfig(latent=8, width=32, composition="jamming"), FIELDS),
    ],
)
@torch.no_grad()
def test_notes_sound_where_their_probability_exceeds_one_half(net):
    torch.manual_seed(0)
    net = net().eval()
    latents = net.latents(2, SeededDraws.of(1, 0, 2, CPU))
    probabilities = net.decode_smooth(latents, Request())["roll"]
    assert probabilities.dtype == torch.float32
    assert torch.equal(net.decode(latents, Request())["roll"], probabilities > 0.5)


@torch.no_grad()
def test_parts_of_a_jamming_model_are_its_tracks():
    """Another latent of the alto leaves the soprano as it is."""
    torch.manual_seed(0)
    net = MuseGAN(MuseGANConfig(latent=8, width=32, composition="jamming"), FIELDS).eval()
    latents = net.latents(2, SeededDraws.of(1, 0, 2, CPU))
    mask = net.latent_parts()["alto"]
    changed = torch.where(mask, latents[1:], latents[:1])
    before, after = (net.decode_smooth(z, Request())["roll"] for z in (latents[:1], changed))
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.equal(before[:, 1], after[:, 1])


def test_attributes_by_hand():
    """Two voices: C4 for two bars and E4, G4, E4 … in the first: 1 + 2 notes in two bars; a major third is clear."""
    modality = Music(Music.Config(tracks="chorale", lowest=60, pitches=12, bars=2), {})
    roll = np.zeros((1, *modality.grid.shape), bool)
    steps = roll.shape[3]
    roll[0, 0, :, :, 0] = True
    roll[0, 1, 0, : steps // 2, 4] = True
    roll[0, 1, 0, steps // 2 :, 7] = True
    samples = {"roll": roll}
    assert densities(samples, modality) == pytest.approx([1.5])
    assert registers(samples, modality) == pytest.approx([(2 * 60 + 0.5 * 64 + 0.5 * 67) / 3])
    assert polyphonies(samples, modality) == pytest.approx([1.5])
    assert 0.6 < key_clarities(samples, modality)[0] <= 1
    assert np.isnan(polyphonies({"roll": np.zeros_like(roll)}, modality)[0])
