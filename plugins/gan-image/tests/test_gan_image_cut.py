"""CUT: its published sizes, its contrast by hand, its game, the mirrored form."""

from __future__ import annotations

import math

import pytest
import torch
from gan.contracts import Architecture, ConditionalOnInput, FieldSpec, Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import Hinge, LeastSquares
from gan.penalties import R1
from gan_image.architectures.cut import CUT, CUTConfig, mirror, patch_contrast
from gan_image.architectures.pixels import to_network, to_pixels
from gan_image.architectures.translation import ResnetGenerator

CPU = torch.device("cpu")
PICTURE = FieldSpec((3, 32, 32), "uint8", 0, 255, "intensity")
FIELDS = {"source": PICTURE, "target": PICTURE}


def cut(**config) -> CUT:
    torch.manual_seed(0)
    sizes = {"generator_width": 2, "blocks": 2, "discriminator_width": 2, "layers": 1, "patches": 16, "head_width": 4}
    return CUT(CUTConfig(**{**sizes, "contrast_layers": (0, 1, 4), **config}), FIELDS)


def batch(count: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pictures = {name: torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8) for name in FIELDS}
    return Batch(pictures, StepDraws(seed, count, 0, count, CPU), 0, 0.0)


def test_published_parameter_counts():
    """The generator of CycleGAN; heads on 3, 128, 256, 256 and 256 channels, each (c + 1) 256 + 257 · 256 numbers:
    1,024 + 33,024 + 3 · 65,792 + 5 · 65,792 = 560,384."""
    model = CUT(CUTConfig(), {name: FieldSpec((3, 256, 256), "uint8", 0, 255, "intensity") for name in FIELDS})
    counts = [sum(p.numel() for p in part.parameters()) for part in (model.generator, model.heads, model.discriminator)]
    assert counts == [11_378_179, 560_384, 2_764_737]


def test_layers_that_are_looked_at():
    """The picture, the strided convolutions before their normalisation, the blocks; no more is computed than wanted."""
    torch.manual_seed(0)
    network = ResnetGenerator(3, 4, 3)
    pictures = torch.rand(2, 3, 32, 32)
    everything = range(6)
    made, seen = network.seeing(pictures, everything)
    assert torch.equal(made, network(pictures))
    assert [layer.shape[1] for layer in seen] == network.widths == [3, 8, 16, 16, 16, 16]
    assert [layer.shape[2] for layer in seen] == [32, 16, 8, 8, 8, 8]
    assert seen[1].min() < 0  # no ReLU yet
    assert torch.equal(seen[0], pictures)
    for one, again in zip(seen, network.features(pictures, everything), strict=True):
        assert torch.equal(one, again)


def test_contrast_by_hand():
    """Two places with the keys e1 and e2. Queries that are their keys: -log(e^(1/t) / (e^(1/t) + 1)) for t = 0.5, that
    is log(1 + e^-2). Exchanged queries: log(1 + e^2). Equal keys tell nothing: log 2."""
    keys = torch.eye(2)[None]
    right, wrong = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    assert patch_contrast(keys, keys, 0.5).tolist() == pytest.approx([right])
    assert patch_contrast(keys.flip(1), keys, 0.5).tolist() == pytest.approx([wrong])
    half = torch.cat([keys, torch.stack([keys[0, 0], keys[0, 0]])[None]])
    queries = torch.cat([keys, keys])
    assert patch_contrast(queries, half, 0.5).tolist() == pytest.approx([right, (0.5 * 2 * math.log(2))], abs=1e-6)


def test_objectives_are_the_papers():
    """Recomputed by hand with every place of every layer: the order of the places does not matter then."""
    model = cut(jitter=0.0, flip=False, patches=1024)
    (phase,) = model.phases(LeastSquares(), {})
    assert [turn.player for turn in phase.turns] == ["discriminator", "generator"]
    data = batch(2)
    source, target = to_network(data["source"]), to_network(data["target"])
    with torch.no_grad():
        judged = phase.turns[0].objective(data)
        terms = phase.turns[1].objective(data)
        fake, same = model.generator(source), model.generator(target)
        expected = 0.5 * ((model.discriminator(target) - 1).square().mean() + model.discriminator(fake).square().mean())
        assert torch.isclose(judged["loss"], expected)
        assert torch.isclose(terms["loss"], (model.discriminator(fake) - 1).square().mean())
        for name, made, given in (("contrast", fake, source), ("identity", same, target)):
            values = []
            for head, layer in zip(model.heads, (0, 1, 4), strict=True):
                query, key = (
                    head(model.generator.features(x, [layer])[0].flatten(2).transpose(1, 2)) for x in (made, given)
                )
                values.append(patch_contrast(query, key, 0.07).mean())
            assert torch.isclose(terms[name], torch.stack(values).mean(), rtol=1e-4)


def test_the_generator_learns_by_queries_only():
    """Where the translation is cut off, nothing of the contrast reaches the generator: keys are fixed."""
    model = cut(adversarial_weight=0.0, identity_weight=0.0)
    (phase,) = model.phases(LeastSquares(), {})
    data = batch(2)
    phase.turns[0].objective(data)
    assert all(not key.requires_grad for key in data.shared["keys"])
    assert data.shared["made"].requires_grad
    phase.turns[1].objective(data)["contrast"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.heads.parameters() if p.ndim > 1)
    assert model.generator.decoder[-2].weight.grad.abs().sum() > 0


def test_mirrored_pictures_are_seen_mirrored_back():
    """A generator that mirrors along (here: the identity) is not told from one that was shown the picture as it is."""
    model = cut(identity_weight=0.0, equivariance=True, contrast_layers=(0,), jitter=0.0, flip=False, patches=1024)
    model.generator.decoder = torch.nn.Identity()
    model.generator.encoder = torch.nn.ModuleList()
    (phase,) = model.phases(LeastSquares(), {})
    data = batch(8)
    phase.turns[0].objective(data)
    mirrored = data.shared["mirrored"].flatten()
    assert 0 < mirrored.sum() < 8
    source = to_network(data["source"])
    assert torch.equal(data.shared["made"], mirror(source, mirrored.view(-1, 1, 1, 1)))
    assert torch.equal(data.shared["made"][mirrored], source[mirrored].flip(3))
    terms = phase.turns[1].objective(data)
    assert "identity" not in terms
    (key,) = data.shared["keys"]
    vectors = model.heads[0](key.flatten(2).transpose(1, 2))
    assert torch.isclose(terms["contrast"], patch_contrast(vectors, vectors, 0.07).mean(), rtol=1e-4)


def test_another_loss_and_a_penalty():
    model = cut()
    (phase,) = model.phases(Hinge(), {"r1": R1(weight=1.0, every=4)})
    assert [turn.every for turn in phase.turns] == [1, 4, 1]
    data = batch(2)
    values = [turn.objective(data) for turn in phase.turns]
    assert values[1]["r1"] > 0
    assert set(values[2]) == {"loss", "contrast", "identity"}


def test_translates():
    model = cut().eval()
    assert isinstance(model, Architecture)
    assert isinstance(model, ConditionalOnInput)
    pictures = batch(3).fields["source"]
    with torch.no_grad():
        found = model.generate(3, SeededDraws.of(0, 0, 3, CPU), Request(None, {"source": pictures}))
        expected = to_pixels(model.generator(to_network(pictures)))
    assert torch.equal(found["source"], pictures)
    assert torch.equal(found["target"], expected)


def test_wrong_layers_and_layouts_are_refused():
    with pytest.raises(UsageError, match=r"contrast_layers must be in 0 … 4"):
        cut(contrast_layers=(0, 5))
    with pytest.raises(UsageError, match=r"modality\.layout"):
        CUT(CUTConfig(), {"image": PICTURE})
