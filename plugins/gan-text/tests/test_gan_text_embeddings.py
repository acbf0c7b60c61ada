"""Texts as vectors of a language model from a folder: a tiny BERT with random weights, made here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.errors import BadData, UsageError
from gan.evaluation.metric_names import find_metrics, measure
from gan.plugins.manager import Plugins
from gan_text.data.vocabulary import Characters
from gan_text.extractors.text_model import TextModelExtractor
from gan_text.modality import Text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    made = tmp_path_factory.mktemp("models") / "tiny"
    backend = Tokenizer(models.WordLevel({"?": 0, "red": 1, "green": 2, "blue": 3}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?", model_max_length=1000).save_pretrained(made)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=4, hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
                        max_position_embeddings=6)  # fmt: skip
    BertModel(config).save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def modality():
    letters = Characters.train(["red green blue"], 100)
    return Text(Text.Config(tokens="characters", length=40), {"vocabulary": letters.facts()})


def written(modality, texts):
    rows = [modality.vocabulary.encode(text) for text in texts]
    tokens = np.zeros((len(rows), 40), dtype=np.int16)
    for row, numbers in zip(tokens, rows, strict=True):
        row[: len(numbers)] = numbers
    return {"tokens": tokens, "length": np.array([len(row) for row in rows], dtype=np.int32)}


def test_a_text_is_the_mean_of_its_tokens_vectors(folder, modality):
    """Against the model called by hand: the generator's characters became the model's words; texts of other lengths
    in the set change nothing; the seventh word is past the model's context; no token is the zero vector."""
    from transformers import BertModel

    texts = ["red green", "blue", "green red blue red blue red green", "red green blue red blue red", ""]
    extractor = TextModelExtractor(folder)
    vectors = extractor(written(modality, texts), modality).vectors
    with torch.no_grad():
        first = BertModel.from_pretrained(folder).eval()(input_ids=torch.tensor([[1, 2]])).last_hidden_state.mean(1)
    np.testing.assert_allclose(vectors[0], first[0].numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        extractor(written(modality, texts[:1]), modality).vectors[0], vectors[0], rtol=1e-5, atol=1e-6
    )
    shortened = extractor(written(modality, ["green red blue red blue red"]), modality).vectors[0]
    np.testing.assert_allclose(shortened, vectors[2], rtol=1e-5, atol=1e-6)
    assert np.abs(vectors[2] - vectors[3]).max() > 1e-3
    assert not vectors[4].any()


def test_it_names_scores_by_the_models_folder_and_hash(folder, modality):
    samples = written(modality, ["red", "green blue", "blue red"])
    metrics = find_metrics([f"kid[text-model={folder}]"], "text", Plugins.installed())
    (value,) = measure(metrics, samples, samples, modality)
    assert value.name == "KID[text-model:tiny]"
    assert len(TextModelExtractor(folder).sha256) == 64


def test_a_text_model_needs_its_folder(tmp_path):
    with pytest.raises(UsageError, match="name the folder"):
        TextModelExtractor()
    with pytest.raises(BadData, match=r"model\.safetensors"):
        TextModelExtractor(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(BadData, match="cannot be loaded"):
        TextModelExtractor(tmp_path)
