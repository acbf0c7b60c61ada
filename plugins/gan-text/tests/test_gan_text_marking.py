"""The green list: the same in the sampler and in the search, found in sampled texts, not in others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.contracts import FieldSpec, Request
from gan.draws import SeededDraws
from gan.errors import BadData
from gan.source import SourceFile
from gan_text.architectures.gpt import GPT
from gan_text.architectures.mle import MLE
from gan_text.architectures.relgan import RelGAN
from gan_text.data.fields import token_fields
from gan_text.marking import SHARE, GreenList, binomial_tail
from gan_text.modality import Text

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


def test_sampler_and_search_agree_on_every_token():
    mark = GreenList(KEY, 3.0)
    previous = torch.tensor([0, 1, 77, 2_000_000])
    raised = mark.embed(torch.zeros(4, 5000), previous=previous)
    assert set(raised.unique().tolist()) == {0.0, 3.0}
    for row, context in enumerate(previous.tolist()):
        green = mark.green(np.full(5000, context), np.arange(5000))
        assert np.array_equal(green, raised[row].numpy() > 0)
        assert abs(green.mean() - SHARE) < 0.03


def test_the_tail_is_that_of_the_binomial_distribution():
    """Of 2 tokens at least 2 green: 1/16; at least 0: 1."""
    assert binomial_tail(2, 2) == pytest.approx(SHARE**2)
    assert binomial_tail(0, 2) == pytest.approx(1.0)


def test_a_pair_counts_once_and_too_few_say_nothing():
    mark = GreenList(KEY)
    text = np.tile(np.arange(1, 11), 100)
    assert "too short: 10 different pairs" in mark.detect_tokens([text]).note
    assert "too short: 0" in mark.detect_tokens([np.array([5])]).note
    tokens = np.random.default_rng(0).integers(1, 500, 300)
    assert mark.detect_tokens([tokens]).z == mark.detect_tokens([tokens, tokens]).z


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (GPT, {"layers": 1, "heads": 2, "width": 16}),
        (MLE, {"embedding": 8, "hidden": 8}),
        (RelGAN, {"embedding": 8, "head_width": 8}),
    ],
)
def test_texts_of_every_sampler_carry_the_mark(kind, settings):
    """An untrained model is nearly uniform: two of three tokens become green instead of one in four."""
    fields = token_fields(64, 60, 64, None)
    torch.manual_seed(0)
    net = kind(kind.Config(**settings), fields).eval()
    for mark, found in ((GreenList(KEY), True), (None, False)):
        with torch.no_grad():
            made = net.generate(16, SeededDraws.of(1, 0, 16, torch.device("cpu")), Request(mark=mark))
        texts = list(made["tokens"].numpy())
        assert GreenList(KEY).detect_tokens(texts).found is found
        assert not GreenList(OTHER).detect_tokens(texts).found


def test_a_file_is_searched_with_the_vocabulary_of_its_run(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("the words of a text " * 20)
    file = SourceFile(path.name, path, None, path.stat().st_size)
    assert "--run RUN" in GreenList(KEY).detect(file).note
    modality = Text(Text.Config(tokens="characters"))
    modality.facts = modality.survey([file])
    assert not GreenList(KEY).detect(file, modality).found
    records = tmp_path / "a.jsonl"
    records.write_text('{"text": 3}\nno json\n')
    with pytest.raises(BadData, match="records"):
        GreenList(KEY).detect(SourceFile(records.name, records, None, records.stat().st_size), modality)


def test_fields_are_specified():
    assert isinstance(token_fields(64, 60, 64, None)["tokens"], FieldSpec)
