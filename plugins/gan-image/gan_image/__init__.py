"""Image plugin of `gan`: the modality ``image`` with its architectures, augmentations, extractors and metrics.

This module declares the entries of the plugin and imports nothing heavy. It is one long table, an entry a paragraph, so
that everything the plugin offers is found in one place.
"""

from __future__ import annotations

from collections.abc import Iterator

from gan.contracts import (
    ArchitectureEntry,
    AttributeEntry,
    AugmentationEntry,
    DatasetEntry,
    ExtractorEntry,
    MarkEntry,
    MetricEntry,
    ModalityEntry,
    RecipeEntry,
    WeightsFile,
)
from gan.hookspecs import hookimpl

__version__ = "0.1.0"


@hookimpl
def gan_modalities() -> Iterator[ModalityEntry]:
    """The modality ``image``."""
    yield ModalityEntry(
        name="image",
        summary="Images: PNG, JPEG, WebP, GIF, BMP, TIFF and IDX files; single, paired or in two domains",
        target="gan_image.modality:ImageModality",
        dataset="digits",
    )


@hookimpl
def gan_architectures() -> Iterator[ArchitectureEntry]:
    """Architectures that generate or translate images."""
    yield ArchitectureEntry(
        name="dcgan",
        summary="Convolutional GAN for square images of 4·2^n pixels",
        target="gan_image.architectures.dcgan:DCGAN",
        modality="image",
        paper="Radford, Metz, Chintala: Unsupervised representation learning with deep convolutional generative "
        "adversarial networks, 2016, arXiv:1511.06434",
        parameters={"generator": 191_184, "discriminator": 94_368},
    )
    yield ArchitectureEntry(
        name="dcgan-original",
        summary="The 2015 form of DCGAN: 5x5 kernels, linear layers at both ends, uniform latents",
        target="gan_image.architectures.dcgan:DCGANOriginal",
        modality="image",
        parameters={"generator": 18_879_360, "discriminator": 17_226_368},
        paper="Radford, Metz, Chintala: Unsupervised representation learning with deep convolutional generative "
        "adversarial networks, 2016, arXiv:1511.06434",
    )
    yield ArchitectureEntry(
        name="stylegan2",
        summary="Style-based GAN for square images of 4·2^n pixels, with or without classes",
        target="gan_image.architectures.stylegan2:StyleGAN2",
        modality="image",
        paper="Karras, Laine, Aittala, Hellsten, Lehtinen, Aila: Analyzing and improving the image quality of "
        "StyleGAN, 2020, arXiv:1912.04958",
        small=("modality.resolution=16", "model.capacity=64", "model.latent=8", "model.style=8"),
        parameters={"generator": 188_251, "discriminator": 218_417},
    )
    yield ArchitectureEntry(
        name="fully-connected",
        summary="Two perceptrons: the first GAN, a baseline for any data of numbers, of any plugin",
        target="gan_image.architectures.fully_connected:FullyConnected",
        modality=None,
        paper="Goodfellow et al.: Generative adversarial nets, 2014, arXiv:1406.2661",
        small=("model.hidden=8", "model.latent=4"),
    )
    yield ArchitectureEntry(
        name="cyclegan",
        summary="Translation between two sets of images without pairs, in both directions",
        target="gan_image.architectures.cyclegan:CycleGAN",
        modality="image",
        paper="Zhu, Park, Isola, Efros: Unpaired image-to-image translation using cycle-consistent adversarial "
        "networks, 2017, arXiv:1703.10593",
        small=("model.generator_width=4", "model.discriminator_width=4", "model.blocks=1", "model.pool=4"),
        parameters={"generator": 546_118, "discriminator": 85_730},
    )
    yield ArchitectureEntry(
        name="pix2pix",
        summary="Translation learned from pairs of images",
        target="gan_image.architectures.pix2pix:Pix2Pix",
        modality="image",
        paper="Isola, Zhu, Zhou, Efros: Image-to-image translation with conditional adversarial networks, 2017, "
        "arXiv:1611.07004",
        small=("model.generator_width=4", "model.discriminator_width=4"),
        parameters={"generator": 3_002_115, "discriminator": 96_313},
    )
    yield ArchitectureEntry(
        name="cut",
        summary="Translation from one set of images to another without pairs, by contrastive learning of patches",
        target="gan_image.architectures.cut:CUT",
        modality="image",
        paper="Park, Efros, Zhang, Zhu: Contrastive learning for unpaired image-to-image translation, 2020, "
        "arXiv:2007.15651",
        small=("model.generator_width=4", "model.discriminator_width=4", "model.patches=16", "model.head_width=8"),
        parameters={"generator": 308_707, "discriminator": 42_865},
    )
    yield ArchitectureEntry(
        name="esrgan",
        summary="Super-resolution: photographs of any size, two or four times as large; ESRGAN and Real-ESRGAN",
        target="gan_image.architectures.esrgan:ESRGAN",
        modality="image",
        paper="Wang, Xie, Dong, Shan: Real-ESRGAN: Training real-world blind super-resolution with pure synthetic "
        "data, 2021, arXiv:2107.10833",
        small=(
            "model.width=4",
            "model.blocks=1",
            "model.growth=4",
            "model.discriminator_width=4",
            "modality.resolution=32",
        ),
        parameters={"generator": 101_603, "discriminator": 274_001},
    )
    yield ArchitectureEntry(
        name="r3gan",
        summary="Residual networks without normalization, a relativistic loss with R1 and R2; any 4·2^n pixels",
        target="gan_image.architectures.r3gan:R3GAN",
        modality="image",
        paper="Huang, Gokaslan, Kuleshov, Tompkin: The GAN is dead; long live the GAN! A modern baseline GAN, 2024, "
        "arXiv:2501.05441",
        small=("model.width=8", "model.group=1", "model.latent=8"),
        parameters={"generator": 64_616, "discriminator": 60_584},
    )
    yield ArchitectureEntry(
        name="wgan-gp",
        summary="Residual networks with a critic without normalization, for any 4·2^n pixels",
        target="gan_image.architectures.wgan_gp:WGANGP",
        modality="image",
        paper="Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville: Improved training of Wasserstein GANs, 2017, "
        "arXiv:1704.00028",
        small=("model.latent=8", "model.generator_width=4", "model.discriminator_width=4"),
        parameters={"generator": 44_241, "discriminator": 26_021},
    )
    yield ArchitectureEntry(
        name="wgan-gp-digits",
        summary="The networks of WGAN-GP for MNIST, 28 pixels",
        target="gan_image.architectures.wgan_gp:WGANGPDigits",
        modality="image",
        paper="Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville: Improved training of Wasserstein GANs, 2017, "
        "arXiv:1704.00028",
        small=("model.latent=8", "model.width=4"),
        parameters={"generator": 1_554_177, "discriminator": 1_030_145},
    )
    yield ArchitectureEntry(
        name="biggan",
        summary="Residual networks with classes, spectral normalization and attention; also SNGAN and SAGAN",
        target="gan_image.architectures.biggan:BigGAN",
        modality="image",
        paper="Brock, Donahue, Simonyan: Large scale GAN training for high fidelity natural image synthesis, 2019, "
        "arXiv:1809.11096",
        small=("model.width=1",),
        parameters={"generator": 78_557, "discriminator": 68_689},
    )
    yield ArchitectureEntry(
        name="fewshot",
        summary="A small network for a hundred pictures and some minutes, 16 pixels and more",
        target="gan_image.architectures.fewshot:FewShot",
        modality="image",
        paper="after Liu, Zhu, Song, Elgammal: Towards faster and stabilized GAN training for high-fidelity few-shot "
        "image synthesis, 2021, arXiv:2101.04775",
        small=("model.latent=8", "model.generator_width=8", "model.discriminator_width=8", "modality.resolution=16"),
        parameters={"generator": 852_208, "discriminator": 435_304},
    )


@hookimpl
def gan_metrics() -> Iterator[MetricEntry]:
    """Distances of sets of images, and similarities of translations to their paired targets."""
    yield MetricEntry(
        name="swd",
        summary="Sliced Wasserstein distance of patches in a Laplacian pyramid, times 1,000; lower is better",
        target="gan_image.metrics.sets:SlicedWasserstein",
        modality="image",
        meanings={"SWD": "distance of small patches at all scales from real ones; 0: the same"},
    )
    yield MetricEntry(
        name="ms-ssim",
        summary="Similarity of image pairs within a set, from 11 pixels on; above the real value is less variety",
        target="gan_image.metrics.sets:MultiScaleSSIM",
        modality="image",
        meanings={"MS-SSIM": "how alike two images of a set are; above the real value: less variety"},
    )
    yield MetricEntry(
        name="l1",
        summary="Mean absolute difference of a translation and its target",
        target="gan_image.metrics.pairs:L1",
        modality="image",
    )
    yield MetricEntry(
        name="psnr",
        summary="Peak signal-to-noise ratio of a translation and its target, in dB",
        target="gan_image.metrics.pairs:PSNR",
        modality="image",
    )
    yield MetricEntry(
        name="ssim",
        summary="Structural similarity of a translation and its target",
        target="gan_image.metrics.pairs:SSIM",
        modality="image",
    )
    for name, trunk, target in (
        ("lpips", "AlexNet", "LPIPS"),
        ("lpips-vgg", "VGG-16", "LPIPSVGG"),
        ("lpips-squeeze", "SqueezeNet 1.1", "LPIPSSqueeze"),
    ):
        yield MetricEntry(
            name=name,
            summary=f"LPIPS 0.1 on {trunk}: perceptual distance of a translation and its target; needs weights",
            target=f"gan_image.metrics.perceptual:{target}",
            modality="image",
        )
    yield MetricEntry(
        name="feature-distance",
        summary="LPIPS's formula on SqueezeNet 1.0, without learned channel weights; needs squeezenet1_0_imagenet.npz",
        target="gan_image.metrics.perceptual:FeatureDistance",
        modality="image",
    )
    yield MetricEntry(
        name="cycle-error",
        summary="Mean absolute difference of an image and its translation there and back",
        target="gan_image.metrics.pairs:CycleError",
        modality="image",
    )


@hookimpl
def gan_extractors() -> Iterator[ExtractorEntry]:
    """Feature extractors. Only the scores of inception-v3-2015 are FID, KID and IS without a suffix."""
    yield ExtractorEntry(
        name="inception-v3-2015",
        summary="The network of FID: 2,048 features and 1,008 classes of ImageNet, images at 299 pixels",
        target="gan_image.extractors.inception:InceptionExtractor",
        modality="image",
        paper="Szegedy et al.: Rethinking the Inception architecture for computer vision, 2016, arXiv:1512.00567",
        weights="pt_inception-2015-12-05-6726825d.pth, 96 MB; gan data fetch weights:inception-v3-2015",
        files=(
            WeightsFile(
                name="pt_inception-2015-12-05-6726825d.pth",
                url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
                sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
                size=95_628_359,
                licence="Apache-2.0 (converted from TensorFlow's model of 2015)",
            ),
        ),
    )
    yield ExtractorEntry(
        name="squeezenet",
        summary="SqueezeNet 1.0 on ImageNet: 512 features and 1,000 classes, images at 227 pixels",
        target="gan_image.extractors.squeezenet:SqueezeNetExtractor",
        modality="image",
        paper="Iandola et al.: SqueezeNet: AlexNet-level accuracy with 50x fewer parameters, 2016, arXiv:1602.07360",
        weights="squeezenet1_0_imagenet.npz, 1 MB",
    )
    yield ExtractorEntry(
        name="efficientnet-lite0",
        summary="EfficientNet-Lite0 on ImageNet: 1,280 features and 1,000 classes, images at 224 pixels",
        target="gan_image.extractors.efficientnet:EfficientNetLite0Extractor",
        modality="image",
        paper="Tan, Le: EfficientNet: Rethinking model scaling for convolutional neural networks, 2019, "
        "arXiv:1905.11946",
        weights="efficientnet-lite0-57934424.pth, 19 MB",
    )
    yield ExtractorEntry(
        name="resnet20",
        summary="ResNet-20 on CIFAR-10: 64 features and 10 classes, images at 32 pixels",
        target="gan_image.extractors.resnet:ResNet20Extractor",
        modality="image",
        paper="He et al.: Deep residual learning for image recognition, 2016, arXiv:1512.03385",
        weights="cifar10_resnet20.npz, 1 MB",
    )
    yield ExtractorEntry(
        name="cifar-resnet",
        summary="ResNet of 20 to 1202 layers on CIFAR-10, from a file: cifar-resnet=FILE.npz",
        target="gan_image.extractors.resnet:CifarResNetExtractor",
        modality="image",
        paper="He et al.: Deep residual learning for image recognition, 2016, arXiv:1512.03385",
        weights="a file of yours, named as cifar10_resnet20.npz is inside",
    )
    yield ExtractorEntry(
        name="lenet5",
        summary="LeNet-5 on MNIST: 120 features and 10 digits, images at 32 pixels",
        target="gan_image.extractors.lenet5:LeNet5Extractor",
        modality="image",
        paper="LeCun et al.: Gradient-based learning applied to document recognition, 1998",
        weights="mnist_lenet5.npz, 0.2 MB",
    )
    for name, trunk, target, files in (
        ("lpips", "AlexNet", "LPIPSExtractor", "alexnet-owt-7be5be79.pth, 244 MB, and alex.pth"),
        ("lpips-vgg", "VGG-16", "LPIPSVGGExtractor", "vgg16-397923af.pth, 553 MB, and vgg.pth"),
        ("lpips-squeeze", "SqueezeNet 1.1", "LPIPSSqueezeExtractor", "squeezenet1_1-b8a52dc0.pth, 5 MB, squeeze.pth"),
    ):
        yield ExtractorEntry(
            name=name,
            summary=f"Feature vectors whose squared distance is LPIPS 0.1 on {trunk}, for ppl[{name}]",
            target=f"gan_image.extractors.lpips:{target}",
            modality="image",
            paper="Zhang et al.: The unreasonable effectiveness of deep features as a perceptual metric, 2018, "
            "arXiv:1801.03924",
            weights=files,
        )
    yield ExtractorEntry(
        name="squeezenet-distance",
        summary="Feature vectors with the distance of LPIPS's formula on SqueezeNet 1.0, without learned weights",
        target="gan_image.extractors.lpips:SqueezeNetDistanceExtractor",
        modality="image",
        paper="Zhang et al.: The unreasonable effectiveness of deep features as a perceptual metric, 2018, "
        "arXiv:1801.03924, without its channel weights",
        weights="squeezenet1_0_imagenet.npz, 1 MB",
    )
    yield ExtractorEntry(
        name="vision-model",
        summary="Any vision model of transformers, from a folder: fid[vision-model=FOLDER]",
        target="gan_image.extractors.vision_model:VisionModelExtractor",
        modality="image",
        paper="Wolf et al.: Transformers: state-of-the-art natural language processing, 2020, arXiv:1910.03771",
        weights="a folder with config.json and model.safetensors",
    )


@hookimpl
def gan_augmentations() -> Iterator[AugmentationEntry]:
    """Augmentations of the images that discriminators see."""
    paper = (
        "Karras, Aittala, Hellsten, Laine, Lehtinen, Aila: Training generative adversarial networks with limited data, "
        "2020, arXiv:2006.06676"
    )
    yield AugmentationEntry(
        name="ada",
        summary="Adaptive: geometry and colours with a probability that follows the discriminator's overfitting",
        target="gan_image.augmentations.ada:ADA",
        modality="image",
        fields=("image",),
        paper=paper,
    )
    yield AugmentationEntry(
        name="ada-fixed",
        summary="The operations of ADA with a probability that is a number or a schedule",
        target="gan_image.augmentations.ada:Pipeline",
        modality="image",
        fields=("image",),
        paper=paper,
    )
    yield AugmentationEntry(
        name="affine",
        summary="Small turns, scalings, shears and shifts of every image",
        target="gan_image.augmentations.affine:Affine",
        modality="image",
        fields=("image",),
        paper="Ji, Henriques, Vedaldi: Invariant information clustering for unsupervised image classification and "
        "segmentation, 2019, arXiv:1807.06653",
    )
    yield AugmentationEntry(
        name="diffaugment",
        summary="Colour, translation and cutout for every image",
        target="gan_image.augmentations.diffaugment:DiffAugment",
        modality="image",
        fields=("image",),
        paper="Zhao, Liu, Lin, Zhu, Han: Differentiable augmentation for data-efficient GAN training, 2020, "
        "arXiv:2006.10738",
    )


@hookimpl
def gan_marks() -> Iterator[MarkEntry]:
    """The invisible mark of written files."""
    yield MarkEntry(
        name="pixels",
        summary="Spread spectrum on 8x8 DCT blocks; survives JPEG, crops, halving and doubling",
        target="gan_image.marking:ImageMark",
        modality="image",
        suffixes=(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
        paper="Cox, Kilian, Leighton, Shamoon: Secure spread spectrum watermarking for multimedia, 1997, "
        "https://doi.org/10.1109/83.650120",
    )


@hookimpl
def gan_datasets() -> Iterator[DatasetEntry]:
    """Named datasets."""
    yield DatasetEntry(
        name="digits",
        summary="1,797 handwritten digits, 8x8 grey, with labels (from scikit-learn)",
        target="gan_image.data.datasets:digits",
        modality="image",
        licence="CC BY 4.0 (Alpaydin and Kaynak: Optical Recognition of Handwritten Digits, UCI repository, 1998)",
    )
    yield DatasetEntry(
        name="shape-pairs",
        summary="400 pairs of outlined and coloured shapes side by side, 64x64 RGB, drawn by this plugin",
        target="gan_image.data.datasets:shape_pairs",
        modality="image",
        licence="that of this plugin, whose code draws them",
    )
    yield DatasetEntry(
        name="shape-domains",
        summary="400 images of shapes in warm and 400 in cold colours, two folders, 64x64 RGB, drawn by this plugin",
        target="gan_image.data.datasets:shape_domains",
        modality="image",
        licence="that of this plugin, whose code draws them",
    )


@hookimpl
def gan_attributes() -> Iterator[AttributeEntry]:
    """Numbers that describe an image."""
    for name, function, unit, summary in (
        ("brightness", "brightness", "0 to 255", "Mean grey value"),
        ("contrast", "contrast", "0 to 255", "Standard deviation of the grey values of an image"),
        (
            "saturation",
            "saturation",
            "0 to 255",
            "Mean difference of the largest and the smallest of red, green and blue",
        ),
        ("warmth", "warmth", "-255 to 255", "Mean of red minus blue"),
    ):
        yield AttributeEntry(
            name=name, summary=summary, target=f"gan_image.attributes:{function}", modality="image", unit=unit
        )


@hookimpl
def gan_recipes() -> Iterator[RecipeEntry]:
    """Recipes: the settings of whole training runs."""
    yield RecipeEntry(
        name="dcgan-digits",
        summary="DCGAN on handwritten digits, a few minutes on two cores",
        target="gan_image:recipes/dcgan-digits.yaml",
        architecture="dcgan",
        default=True,
    )
    yield RecipeEntry(
        name="dcgan-32",
        summary="DCGAN for images of 32 pixels (MNIST: about ten minutes on one core)",
        target="gan_image:recipes/dcgan-32.yaml",
        architecture="dcgan",
    )
    yield RecipeEntry(
        name="dcgan-64",
        summary="DCGAN for images of 64 pixels, with the published widths and settings",
        target="gan_image:recipes/dcgan-64.yaml",
        architecture="dcgan",
    )
    yield RecipeEntry(
        name="r3gan-32",
        summary="R3GAN at 32 pixels, sized for a CPU",
        target="gan_image:recipes/r3gan-32.yaml",
        architecture="r3gan",
    )
    yield RecipeEntry(
        name="r3gan-cifar10",
        summary="R3GAN with the published sizes for CIFAR-10",
        target="gan_image:recipes/r3gan-cifar10.yaml",
        architecture="r3gan",
    )
    yield RecipeEntry(
        name="r3gan-64",
        summary="R3GAN with the published sizes for faces at 64 pixels",
        target="gan_image:recipes/r3gan-64.yaml",
        architecture="r3gan",
    )
    yield RecipeEntry(
        name="r3gan-256",
        summary="R3GAN with the published sizes for faces at 256 pixels",
        target="gan_image:recipes/r3gan-256.yaml",
        architecture="r3gan",
    )
    yield RecipeEntry(
        name="r3gan-imagenet32",
        summary="R3GAN with the published sizes for ImageNet at 32 pixels",
        target="gan_image:recipes/r3gan-imagenet32.yaml",
        architecture="r3gan",
    )
    yield RecipeEntry(
        name="r3gan-imagenet64",
        summary="R3GAN with the published sizes for ImageNet at 64 pixels",
        target="gan_image:recipes/r3gan-imagenet64.yaml",
        architecture="r3gan",
    )
    yield RecipeEntry(
        name="wgan-gp-32",
        summary="WGAN-GP at 32 pixels, sized for a CPU",
        target="gan_image:recipes/wgan-gp-32.yaml",
        architecture="wgan-gp",
    )
    yield RecipeEntry(
        name="wgan-gp-cifar10",
        summary="WGAN-GP with the published networks and settings for CIFAR-10",
        target="gan_image:recipes/wgan-gp-cifar10.yaml",
        architecture="wgan-gp",
    )
    yield RecipeEntry(
        name="wgan-gp-mnist",
        summary="WGAN-GP with the published networks and settings for MNIST",
        target="gan_image:recipes/wgan-gp-mnist.yaml",
        architecture="wgan-gp-digits",
    )
    yield RecipeEntry(
        name="biggan-32",
        summary="BigGAN with classes at 32 pixels, sized for a CPU",
        target="gan_image:recipes/biggan-32.yaml",
        architecture="biggan",
    )
    yield RecipeEntry(
        name="biggan-cifar10",
        summary="BigGAN with the published networks and settings for CIFAR-10",
        target="gan_image:recipes/biggan-cifar10.yaml",
        architecture="biggan",
    )
    yield RecipeEntry(
        name="biggan-128",
        summary="BigGAN with the published networks and settings for ImageNet at 128 pixels",
        target="gan_image:recipes/biggan-128.yaml",
        architecture="biggan",
    )
    yield RecipeEntry(
        name="sngan-32",
        summary="SNGAN at 32 pixels, sized for a CPU",
        target="gan_image:recipes/sngan-32.yaml",
        architecture="biggan",
    )
    yield RecipeEntry(
        name="sngan-cifar10",
        summary="SNGAN with the published networks and settings for CIFAR-10",
        target="gan_image:recipes/sngan-cifar10.yaml",
        architecture="biggan",
    )
    yield RecipeEntry(
        name="sagan-128",
        summary="SAGAN with the published networks and settings for ImageNet at 128 pixels",
        target="gan_image:recipes/sagan-128.yaml",
        architecture="biggan",
    )
    yield RecipeEntry(
        name="fewshot-64",
        summary="A hundred pictures at 64 pixels, some minutes on a CPU",
        target="gan_image:recipes/fewshot-64.yaml",
        architecture="fewshot",
    )
    yield RecipeEntry(
        name="fewshot-256",
        summary="A hundred to a thousand pictures at 256 pixels, for a GPU",
        target="gan_image:recipes/fewshot-256.yaml",
        architecture="fewshot",
    )
    yield RecipeEntry(
        name="stylegan2-32",
        summary="StyleGAN2 for images of 32 pixels, sized for a CPU",
        target="gan_image:recipes/stylegan2-32.yaml",
        architecture="stylegan2",
    )
    yield RecipeEntry(
        name="stylegan2-256",
        summary="StyleGAN2 with the published sizes and settings for 256 pixels",
        target="gan_image:recipes/stylegan2-256.yaml",
        architecture="stylegan2",
    )
    yield RecipeEntry(
        name="cyclegan-64",
        summary="CycleGAN for two folders at 64 pixels, sized for a CPU",
        target="gan_image:recipes/cyclegan-64.yaml",
        architecture="cyclegan",
    )
    yield RecipeEntry(
        name="cyclegan-256",
        summary="CycleGAN with the published sizes, for 256 pixels",
        target="gan_image:recipes/cyclegan-256.yaml",
        architecture="cyclegan",
    )
    yield RecipeEntry(
        name="cut-64",
        summary="CUT for two folders at 64 pixels, sized for a CPU",
        target="gan_image:recipes/cut-64.yaml",
        architecture="cut",
    )
    yield RecipeEntry(
        name="cut-256",
        summary="CUT with the published sizes, for 256 pixels",
        target="gan_image:recipes/cut-256.yaml",
        architecture="cut",
    )
    yield RecipeEntry(
        name="pix2pix-64",
        summary="pix2pix for pairs side by side at 64 pixels, sized for a CPU",
        target="gan_image:recipes/pix2pix-64.yaml",
        architecture="pix2pix",
    )
    yield RecipeEntry(
        name="esrgan-x2",
        summary="Photographs twice as large, sized for a CPU",
        target="gan_image:recipes/esrgan-x2.yaml",
        architecture="esrgan",
    )
    yield RecipeEntry(
        name="esrgan-x4",
        summary="ESRGAN with the published sizes and settings: clean images four times as large",
        target="gan_image:recipes/esrgan-x4.yaml",
        architecture="esrgan",
    )
    yield RecipeEntry(
        name="real-esrgan-x2",
        summary="Real-ESRGAN with the published sizes and settings: degraded photographs twice as large",
        target="gan_image:recipes/real-esrgan-x2.yaml",
        architecture="esrgan",
    )
    yield RecipeEntry(
        name="real-esrgan-x4",
        summary="Real-ESRGAN with the published sizes and settings: degraded photographs four times as large",
        target="gan_image:recipes/real-esrgan-x4.yaml",
        architecture="esrgan",
    )
    yield RecipeEntry(
        name="pix2pix-256",
        summary="pix2pix with the published sizes, for 256 pixels",
        target="gan_image:recipes/pix2pix-256.yaml",
        architecture="pix2pix",
    )
