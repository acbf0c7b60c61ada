"""What control needs of music: probabilities, parts of latents, and attributes of phrases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.contracts import FieldSpec, Request
from gan.draws import SeededDraws
from gan.parts.codes import information, with_codes
from gan.recipe import Codes
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


@pytest.mark.parametrize("composition", ["composer", "jamming", "hybrid"])
def test_all_tracks_of_musegan_have_the_codes_and_critics_read_them(composition):
    """The code is in the latent of every generator, so that a hybrid model's shared part stays shared; its gradient
    reaches generators and critics; and the first layer is the map of the latents."""
    torch.manual_seed(0)
    codes = Codes(categorical=[3], continuous=1)
    net = with_codes(MuseGAN, codes, "musegan")(MuseGANConfig(latent=12, width=32, composition=composition), FIELDS)
    latents = net.latents(4, SeededDraws.of(1, 0, 4, CPU))
    assert torch.equal(latents[:, :, :4], latents[:, :1, :4].expand(-1, latents.shape[1], -1))
    if composition == "hybrid":
        assert torch.equal(latents[:, 0, :6], latents[:, 1, :6])
        assert not torch.equal(latents[:, 0, 6:], latents[:, 1, 6:])
    read = net.read_codes(net.decode_smooth(latents, Request()))
    torch.stack(information(codes, read, net.codes_of(latents))).sum().backward()
    for part in (net.generators, net.critics):
        reached = [parameter.grad for parameter in part.parameters() if parameter.grad is not None]
        assert sum(float(gradient.abs().sum()) for gradient in reached) > 0
    (matrix,) = net.linear_maps()
    first = net.generators[-1].trunk[0].conv
    change = first(torch.ones(1, 12, 1, 1, 1)) - first(torch.zeros(1, 12, 1, 1, 1))
    assert torch.allclose(matrix[-first.out_channels * 2 :, -12:].sum(1), change.flatten(), atol=1e-5)


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
