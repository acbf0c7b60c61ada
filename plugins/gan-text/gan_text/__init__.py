"""Text plugin of `gan`: the modality `text`, SeqGAN, RelGAN, GPT, and metrics of text.

This module declares the entries of the plugin and imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable

from gan.contracts import (
    ArchitectureEntry,
    DatasetEntry,
    ExtractorEntry,
    GuardEntry,
    MarkEntry,
    MetricEntry,
    ModalityEntry,
    RecipeEntry,
)
from gan.hookspecs import hookimpl

SEQGAN = "Yu, Zhang, Wang, Yu: SeqGAN: Sequence Generative Adversarial Nets with Policy Gradient, AAAI 2017, https://arxiv.org/abs/1609.05473"

WORDS = ("modality.tokens=words", "modality.vocabulary=300", "modality.length=8")
"""Settings with which the recipes for the oracle run on real text, for conformance checks."""


@hookimpl
def gan_modalities() -> Iterable[ModalityEntry]:
    """The modality `text`."""
    yield ModalityEntry(
        name="text", summary="Lines or running text as characters, words or byte-level BPE",
        target="gan_text.modality:Text", dataset="python-reference",
    )  # fmt: skip


@hookimpl
def gan_architectures() -> Iterable[ArchitectureEntry]:
    """Language models and text GANs."""
    yield ArchitectureEntry(
        name="gpt", summary="A causal transformer, from scratch or pretrained",
        small=("model.width=16", "model.layers=1"),
        target="gan_text.architectures.gpt:GPT", modality="text", parameters={"generator": 1_061_632},
        paper="Radford et al.: Language Models are Unsupervised Multitask Learners, 2019",
    )  # fmt: skip
    yield ArchitectureEntry(
        name="seqgan", summary="LSTM trained by policy gradient on a discriminator's scores of rollouts",
        target="gan_text.architectures.seqgan:SeqGAN", modality="text", paper=SEQGAN,
        parameters={"generator": 333_320, "discriminator": 7_045_402},
        small=(
            *WORDS, "model.filters=[[1, 4], [2, 4]]", "model.negatives=16", "model.renew=32", "model.rollouts=2",
            "model.discriminator_embedding=8", "model.generator_interval=2", "model.sequences=1",
        ),
    )  # fmt: skip
    yield ArchitectureEntry(
        name="gpt-seqgan", summary="A causal transformer, from scratch or pretrained, trained against a discriminator",
        target="gan_text.architectures.gpt_seqgan:GPTSeqGAN", modality="text", paper=SEQGAN,
        parameters={"generator": 322_944, "discriminator": 158_050},
        small=(
            "model.width=16", "model.layers=1", "modality.length=8", "model.filters=[[1, 4], [2, 4]]",
            "model.negatives=16", "model.renew=32", "model.generator_interval=2",
        ),
    )  # fmt: skip
    yield ArchitectureEntry(
        name="gpt-gad", summary="A causal transformer, from scratch or pretrained, and a discriminator like itself",
        target="gan_text.architectures.gpt_gad:GPTGad", modality="text",
        parameters={"generator": 528_896, "discriminator": 529_024},
        small=("model.width=16", "model.layers=1", "modality.length=8", "model.group=2"),
        paper="Ye, Dong, Chi, Wu, Huang, Wei: Black-Box On-Policy Distillation of Large Language Models, 2025, "
        "https://arxiv.org/abs/2511.10643",
    )  # fmt: skip
    yield ArchitectureEntry(
        name="gpt-spin", summary="A causal transformer, from scratch or pretrained, against its own earlier self",
        target="gan_text.architectures.gpt_spin:GPTSpin", modality="text", parameters={"generator": 528_896},
        small=("model.width=16", "model.layers=1", "modality.length=8", "model.renew=32"),
        paper="Chen, Deng, Yuan, Ji, Gu: Self-Play Fine-Tuning Converts Weak Language Models to Strong Language "
        "Models, ICML 2024, https://arxiv.org/abs/2401.01335",
    )  # fmt: skip
    yield ArchitectureEntry(
        name="mle", summary="SeqGAN's LSTM trained by maximum likelihood alone: the baseline for text GANs",
        target="gan_text.architectures.mle:MLE", modality="text", paper=SEQGAN,
        parameters={"generator": 333_320}, small=WORDS,
    )  # fmt: skip
    yield ArchitectureEntry(
        name="relgan", summary="Relational memory and Gumbel-softmax: a text GAN without rollouts",
        target="gan_text.architectures.relgan:RelGAN", modality="text",
        parameters={"generator": 4_415_206, "discriminator": 1_835_345},
        small=(
            "modality.length=8", "model.head_width=8", "model.representations=4", "model.filters=4",
            "model.critic_repeats=2",
        ),
        paper="Nie, Narodytska, Patel: RelGAN: Relational Generative Adversarial Networks for Text Generation, "
        "ICLR 2019, https://openreview.net/forum?id=rJedV3R5tm",
    )  # fmt: skip


@hookimpl
def gan_metrics() -> Iterable[MetricEntry]:
    """Metrics of quality and diversity, and likelihoods."""
    yield MetricEntry(
        name="bleu", summary="BLEU-2 … 5 against the real texts",
        target="gan_text.metrics.ngrams:Bleu", modality="text",
        meanings={"bleu": "share of word sequences that occur in real texts; a copy scores 1"},
    )  # fmt: skip
    yield MetricEntry(
        name="self-bleu",
        summary="BLEU-2 … 5 of each text against the others; higher is less variety",
        target="gan_text.metrics.ngrams:SelfBleu",
        modality="text",
        meanings={"self-bleu": "how alike the samples are; above the real value: less variety"},
    )
    yield MetricEntry(
        name="distinct",
        summary="Share of different n-grams, n = 1 … 3",
        target="gan_text.metrics.ngrams:Distinct",
        modality="text",
        meanings={"distinct": "share of word sequences that occur once; below the real value: repetition"},
    )
    yield MetricEntry(
        name="nll-oracle",
        summary="Nats per token under the oracle that generated the data",
        target="gan_text.metrics.nll:NLLOracle",
        modality="text",
    )
    yield MetricEntry(
        name="nll-test", summary="Nats per token of the real texts under the model", on_model=True,
        target="gan_text.metrics.nll:NLLTest", modality="text",
    )  # fmt: skip
    yield MetricEntry(
        name="nll-gen", summary="Nats per token of fresh oracle texts under the model", on_model=True,
        target="gan_text.metrics.nll:NLLGen", modality="text",
    )  # fmt: skip


@hookimpl
def gan_extractors() -> Iterable[ExtractorEntry]:
    """Feature extractors for text."""
    yield ExtractorEntry(
        name="text-model", summary="any language model of transformers, from a folder: fid[text-model=FOLDER]",
        target="gan_text.extractors.text_model:TextModelExtractor", modality="text",
        paper="Semeniuta, Severyn, Gelly: On accurate evaluation of GANs for language generation, 2018, "
        "https://arxiv.org/abs/1806.04936",
        weights="a folder with config.json, model.safetensors and a tokenizer",
    )  # fmt: skip


@hookimpl
def gan_marks() -> Iterable[MarkEntry]:
    """The invisible mark of written files."""
    yield MarkEntry(
        name="green-list",
        summary="Keyed preference for a quarter of the tokens; survives cuts and some edits",
        target="gan_text.marking:GreenList",
        modality="text",
        suffixes=(".txt", ".jsonl"),
        paper="Kirchenbauer, Geiping, Wen, Katz, Miers, Goldstein: A watermark for large language models, 2023, https://arxiv.org/abs/2301.10226",
    )


@hookimpl
def gan_datasets() -> Iterable[DatasetEntry]:
    """Datasets that need no download."""
    yield DatasetEntry(
        name="python-reference", summary="The language reference that comes with Python",
        target="gan_text.data.datasets:python_reference", modality="text",
        licence="Python Software Foundation License Version 2",
    )  # fmt: skip
    yield DatasetEntry(
        name="oracle", summary="10,000 sequences sampled from a random LSTM: SeqGAN's benchmark",
        target="gan_text.oracle:fill_oracle", modality="text", licence="CC0 1.0 (random numbers)",
    )  # fmt: skip


@hookimpl
def gan_guards() -> Iterable[GuardEntry]:
    """What watches text GANs."""
    yield GuardEntry(
        name="text", summary="Flat reward, and texts that repeat the same pairs of tokens",
        target="gan_text.guard:TextGuard", modality="text",
    )  # fmt: skip


@hookimpl
def gan_recipes() -> Iterable[RecipeEntry]:
    """Recipes: the settings of whole training runs."""
    for name, architecture, summary in (
        ("gpt-reference", "gpt", "A small GPT on Python's language reference, in minutes on a CPU"),
        ("seqgan-paper", "seqgan", "SeqGAN's oracle benchmark exactly as published"),
        ("seqgan-fast", "seqgan", "A small SeqGAN on its oracle: minutes on a CPU, better than the published value"),
        ("mle", "mle", "The maximum-likelihood baseline on the oracle"),
        ("gpt-adversarial", "gpt-seqgan", "Adversarial fine-tuning of a small GPT on Python's language reference"),
        ("gpt-gad", "gpt-gad", "A small GPT against a discriminator that begins as its copy, on lines"),
        ("gpt-spin", "gpt-spin", "A small GPT against its own earlier self, on lines: captions, verses, names"),
        ("relgan", "relgan", "RelGAN on lines of words, as published for captions"),
        ("relgan-fast", "relgan", "A small RelGAN on lines of words, a quarter of an hour on a CPU"),
    ):
        yield RecipeEntry(
            name=name, summary=summary, architecture=architecture,
            target=f"gan_text:recipes/{name}.yaml", default=name == "gpt-reference",
        )  # fmt: skip
