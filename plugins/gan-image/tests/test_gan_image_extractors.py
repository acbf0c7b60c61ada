"""Extractors: the published weights recognise what they were trained on; the networks are what the papers say."""

from __future__ import annotations

import gzip
import io
import json
import zipfile

import numpy as np
import pytest
import torch
from gan.contracts import Features
from gan.errors import BadData, UsageError
from gan.evaluation.metric_names import find_metrics, measure
from gan.plugins.manager import Plugins
from gan.testing import shared_data
from gan.weights import file_sha256
from gan_image.extractors.base import grey, resized, rgb
from gan_image.extractors.efficientnet import EfficientNetLite0, EfficientNetLite0Extractor, Same
from gan_image.extractors.inception import EPS, Conv, InceptionExtractor, InceptionV3, resized_as_tensorflow_1
from gan_image.extractors.lenet5 import LeNet5Extractor
from gan_image.extractors.resnet import CifarResNetExtractor, ResNet, ResNet20Extractor
from gan_image.extractors.squeezenet import SqueezeNetExtractor
from gan_image.modality import ImageConfig, ImageModality, pictures
from PIL import Image
from torch import nn

needs_shared = pytest.mark.skipif(shared_data("weights") is None, reason="the weights are not beside the checkout")


def mnist(count):
    def read(name, header):
        return np.frombuffer(gzip.decompress(shared_data("image", "mnist", name).read_bytes()), np.uint8)[header:]

    images = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)[:count]
    return images, read("train-labels-idx1-ubyte.gz", 8)[:count]


def zipped(name, wanted, count):
    with zipfile.ZipFile(shared_data("image", name)) as archive:
        names = sorted(n for n in archive.namelist() if n.endswith((".png", ".jpg")) and wanted in n)
        names = names[:: max(1, len(names) // count)][:count]
        pixels = [np.asarray(Image.open(io.BytesIO(archive.read(n))).convert("RGB")) for n in names]
    return np.stack(pixels).transpose(0, 3, 1, 2), names


# ------------------------------------------------------------------ EfficientNet-Lite0


def test_efficientnet_lite0_has_the_published_layout():
    """296 tensors and 4,652,008 parameters, as the published file; padding that is odd comes below and to the right."""
    with torch.device("meta"):
        network = EfficientNetLite0()
    assert len(network.state_dict()) == 296
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_652_008
    assert network.state_dict()["_blocks.15._project_conv.weight"].shape == (320, 1152, 1, 1)
    layer = Same(1, 1, 3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0]])[None, None])
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(layer(image)[0, 0], image[0, 0, ::2, ::2])


def test_efficientnet_lite0_is_read_from_a_file_and_never_called_fid(tmp_path, monkeypatch):
    """Random weights in the published layout, by path and sha256."""
    torch.manual_seed(0)
    path = tmp_path / EfficientNetLite0Extractor.file
    torch.save(EfficientNetLite0().state_dict(), path)
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 40, 48), np.uint8)
    plugins = Plugins.installed()
    with pytest.raises(BadData, match="sha256"):
        EfficientNetLite0Extractor(tmp_path)
    monkeypatch.setattr(EfficientNetLite0Extractor, "sha256", file_sha256(path))
    features = EfficientNetLite0Extractor(tmp_path)({"image": images}, None)
    assert features.vectors.shape == (3, 1280)
    assert features.probabilities.shape == (3, 1000)
    assert features.vectors.std() > 0
    named = [f"{name}[efficientnet-lite0={path}]" for name in ("fid", "fd", "kid")]
    metrics = find_metrics(named, "image", plugins)
    values = measure(metrics, {"image": images}, {"image": images}, ImageModality(ImageConfig()))
    names = [value.name.partition("[")[0] for value in values]
    assert names == ["FD", "FD", "KID"]
    assert all(value.name.endswith("[efficientnet-lite0]") for value in values)


@pytest.mark.shared
def test_efficientnet_lite0_recognizes_photographs():
    """scikit-learn's two: a temple by a lake (bell cote 442, lakeside 975) and a flower (daisy 985, bee 309)."""
    from sklearn.datasets import load_sample_images

    try:
        extractor = EfficientNetLite0Extractor()
    except UsageError:
        pytest.skip("the weights are in no folder of GAN_WEIGHTS")
    china, flower = (
        extractor({"image": image.transpose(2, 0, 1)[None]}, None).probabilities[0]
        for image in load_sample_images().images
    )
    assert china.argmax() == 442
    assert 975 in china.argsort()[-3:]
    assert flower.argsort()[-2:].tolist() == [309, 985]


# ------------------------------------------------------------------ published weights


@pytest.mark.shared
@needs_shared
def test_lenet5_reads_digits():
    images, labels = mnist(1000)
    features = LeNet5Extractor(shared_data("weights"))({"image": images}, None)
    assert features.vectors.shape == (1000, 120)
    assert features.vectors.min() >= 0
    assert (features.probabilities.argmax(1) == labels).mean() > 0.985
    np.testing.assert_allclose(features.probabilities.sum(1), 1, rtol=1e-5)


@pytest.mark.shared
@needs_shared
def test_resnet20_tells_cifars_classes_apart():
    images, names = zipped("cifar10_train.zip", "", 100)
    classes = sorted({name.split("/")[-2] for name in names})
    features = ResNet20Extractor(shared_data("weights"))({"image": images}, None)
    assert features.vectors.shape == (100, 64)
    right = [classes[k] == name.split("/")[-2] for k, name in zip(features.probabilities.argmax(1), names, strict=True)]
    assert np.mean(right) > 0.95


@pytest.mark.shared
@needs_shared
def test_a_resnet_from_a_file_is_the_known_one():
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 40, 40), np.uint8)
    file = shared_data("weights") / "cifar10_resnet20.npz"
    found = CifarResNetExtractor(file)
    assert (found.label, found.sha256) == ("cifar-resnet:cifar10_resnet20", ResNet20Extractor.sha256)
    wanted = ResNet20Extractor(file)({"image": images}, None)
    assert np.array_equal(found({"image": images}, None).vectors, wanted.vectors)


def test_resnets_of_any_depth_are_read_and_other_files_refused(tmp_path):
    """The published numbers of parameters (Table 6 of the paper: 0.27 and 0.85 million)."""
    for blocks, parameters in ((3, 269_722), (9, 853_018)):
        network = ResNet(blocks)
        assert sum(p.numel() for p in network.parameters()) == parameters
        state = {n: v.numpy() for n, v in network.state_dict().items() if "num_batches" not in n}
        np.savez(tmp_path / f"{blocks}.npz", **state)
        extractor = CifarResNetExtractor(tmp_path / f"{blocks}.npz")
        assert len(extractor.network.layer2) == blocks
        assert len(extractor.sha256) == 64
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    with pytest.raises(BadData, match="holds no ResNet of this family"):
        CifarResNetExtractor(tmp_path / "other.npz")
    with pytest.raises(UsageError, match="name the file with the weights"):
        CifarResNetExtractor()


@pytest.mark.shared
@needs_shared
def test_squeezenet_sees_daisies():
    """ImageNet's class 985 is daisy; with red and blue exchanged or other means most are missed."""
    images, _ = zipped("flowers_128.zip", "daisy", 1000)
    images = images[:12]
    features = SqueezeNetExtractor(shared_data("weights"))({"image": images}, None)
    assert features.vectors.shape == (12, 512)
    assert (features.probabilities.argmax(1) == 985).mean() > 0.7


@pytest.mark.shared
@needs_shared
def test_scores_get_worse_with_the_data(monkeypatch):
    """FID[lenet5] of 500 digits against 500 others: real ones near 0, noise worse the more there is."""
    monkeypatch.setenv("GAN_WEIGHTS", str(shared_data("weights")))
    images, _ = mnist(1000)
    real, clean = {"image": images[:500]}, images[500:].astype(float)
    noise = np.random.default_rng(0).standard_normal(clean.shape)
    metrics = find_metrics(["fid[lenet5]"], "image", Plugins.installed())
    found = []
    for sigma in (0, 100, 200):
        noisy = {"image": np.clip(clean + sigma * noise, 0, 255).astype(np.uint8)}
        (value,) = measure(metrics, noisy, real, None)
        assert value.name == "FID[lenet5]"
        found.append(value.value)
    assert 1.3 * found[0] < found[1], found
    assert 1.3 * found[1] < found[2], found


# ------------------------------------------------------------------ the Inception network


class Unfolded(nn.Module):
    """A convolution, its normalisation and ReLU as they are published, under the published names."""

    def __init__(self, folded: Conv) -> None:
        super().__init__()
        self.conv = nn.Conv2d(folded.in_channels, folded.out_channels, folded.kernel_size, folded.stride,
                              folded.padding, bias=False)  # fmt: skip
        self.bn = nn.BatchNorm2d(folded.out_channels, eps=EPS)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


def published():
    """The network with separate normalisations, without weights."""
    with torch.device("meta"):
        network = InceptionV3()
    for name, module in list(network.named_modules()):
        if isinstance(module, Conv):
            parent, _, child = name.rpartition(".")
            with torch.device("meta"):
                setattr(network.get_submodule(parent), child, Unfolded(module))
    return network.eval().requires_grad_(False)


def published_with_weights(seed=0):
    """Random weights that keep signals alive."""
    network = published().to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.ndim == 4:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith(("running_var", "bn.weight")):
            tensor.copy_(0.8 + 0.4 * torch.rand(tensor.shape, generator=generator))
        elif tensor.is_floating_point():
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return network


def test_folding_the_normalisations_changes_nothing():
    slow, fast = published_with_weights(), InceptionV3().eval().requires_grad_(False)
    fast.load_published(slow.state_dict())
    x = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(1)) * 2 - 1
    features, logits = fast(x)
    expected, expected_logits = slow(x)
    assert features.shape == (1, 2048)
    assert logits.shape == (1, 1008)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, expected_logits, rtol=1e-4, atol=1e-4)


def test_the_published_file_has_these_tensors():
    """94 convolutions with 5 tensors each and the classifier's 2: what the 96 MB of float32 hold."""
    state = published().state_dict()
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    assert sum(name.endswith("conv.weight") for name in state) == 94
    bias = 1008  # of the classifier, which is not used
    total = 4 * (sum(tensor.numel() for tensor in floats.values()) + bias)
    assert total == pytest.approx(95_628_359, rel=0.002)


@pytest.mark.parametrize("side", [8, 64, 299, 400])
def test_tensorflow_1_takes_pixel_i_at_i_times_the_ratio(side):
    """On a ramp v(x) = x the value at output pixel i is min(i · side / 299, side - 1)."""
    ramp = torch.arange(side, dtype=torch.float32).expand(1, 1, side, side)
    expected = (torch.arange(299) * side / 299).clamp(max=side - 1)
    torch.testing.assert_close(resized_as_tensorflow_1(ramp)[0, 0, 5], expected, rtol=1e-4, atol=1e-4)
    upright = resized_as_tensorflow_1(ramp.transpose(2, 3))[0, 0, :, 5]
    torch.testing.assert_close(upright, expected, rtol=1e-4, atol=1e-4)


def test_the_inception_network_asks_for_its_file(monkeypatch, tmp_path):
    monkeypatch.delenv("GAN_WEIGHTS", raising=False)
    with pytest.raises(UsageError, match=r"pt_inception-2015-12-05-6726825d\.pth"):
        InceptionExtractor()
    (tmp_path / InceptionExtractor.file).write_bytes(b"something else")
    with pytest.raises(BadData, match="sha256"):
        InceptionExtractor(tmp_path)


# ------------------------------------------------------------------ pictures


def test_colours():
    batch = torch.tensor([[255.0, 0.0, 0.0]]).view(1, 3, 1, 1)
    assert grey(batch).item() == pytest.approx(76.245)
    assert rgb(torch.full((1, 1, 2, 2), 7.0)).shape == (1, 3, 2, 2)
    clear = torch.tensor([10.0, 20.0, 30.0, 0.0]).view(1, 4, 1, 1)
    assert rgb(clear).flatten().tolist() == [255, 255, 255]
    half = torch.tensor([0.0, 0.0, 0.0, 127.5]).view(1, 4, 1, 1)
    assert rgb(half).flatten().tolist() == [127.5] * 3


def test_resizing_is_pillows():
    image = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    for side in (32, 64):
        expected = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)).astype(float)
        found = resized(torch.from_numpy(image.astype(np.float32))[None, None], side)[0, 0].numpy()
        assert np.abs(found - expected).max() <= 1.0


def test_pairs_are_judged_by_their_target():
    source, target = np.zeros((1, 1, 2, 2), np.uint8), np.ones((1, 1, 2, 2), np.uint8)
    assert pictures({"source": source, "target": target}) is target
    with pytest.raises(BadData, match="hold no images"):
        pictures({"tokens": source})


# ------------------------------------------------------------------ vision models


@pytest.mark.slow
def test_any_vision_model_from_a_folder(tmp_path):
    """A tiny ViT with random weights gives its own pooled output, and is named by folder and hash."""
    from gan_image.extractors.vision_model import VisionModelExtractor
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32,
                       patch_size=8)  # fmt: skip
    model = ViTModel(config).eval()
    folder = tmp_path / "tiny"
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"size": {"height": 32, "width": 32}, "image_mean": [0.4] * 3, "image_std": [0.3] * 3})
    )
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    extractor = VisionModelExtractor(folder)
    features: Features = extractor({"image": images}, None)
    with torch.no_grad():
        expected = model(pixel_values=(torch.from_numpy(images) / 255 - 0.4) / 0.3).pooler_output
    np.testing.assert_allclose(features.vectors, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert extractor.label == "vision-model:tiny"
    assert len(extractor.sha256) == 64
    metrics = find_metrics([f"kid[vision-model={folder}]"], "image", Plugins.installed())
    (value,) = measure(metrics, {"image": images}, {"image": images}, None)
    assert value.name == "KID[vision-model:tiny]"


def test_a_vision_model_needs_its_folder(tmp_path):
    from gan_image.extractors.vision_model import VisionModelExtractor

    with pytest.raises(UsageError, match="name the folder"):
        VisionModelExtractor()
    with pytest.raises(BadData, match=r"model\.safetensors"):
        VisionModelExtractor(tmp_path)
