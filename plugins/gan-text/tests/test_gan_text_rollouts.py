"""The rollout engine against plain implementations: one network call a token, `torch.multinomial`, convolutions."""

from __future__ import annotations

import math

import pytest
import torch
from gan import game
from gan.contracts import FieldSpec
from gan.losses import NonSaturating
from gan_text.architectures.seqgan import SeqGAN
from gan_text.data.fields import token_fields
from gan_text.networks.likelihood import weighted_nll
from gan_text.networks.lstm import LSTMGenerator
from gan_text.networks.rollouts import prefix_states, rollout_values
from gan_text.networks.sampler import SoftmaxSampler
from scipy import stats
from torch.nn import functional as F

WORDS, LENGTH, ROLLOUTS = 60, 8, 64
FILTERS = [(1, 8), (2, 8), (3, 8), (5, 4), (8, 4)]


@pytest.fixture
def seqgan() -> SeqGAN:
    """A small SeqGAN whose discriminator has an opinion: its weights are scaled up, so that rewards vary."""
    torch.manual_seed(0)
    config = SeqGAN.Config(
        embedding=8,
        hidden=8,
        deviation=0.7,
        discriminator_embedding=8,
        filters=FILTERS,
        negatives=64,
        rollouts=ROLLOUTS,
    )
    made = SeqGAN(config, token_fields(LENGTH, WORDS, LENGTH))
    with torch.no_grad():
        made.rollout.load_state_dict(made.generator.state_dict())
        for weight in made.discriminator.weights:
            weight *= 3
    return made


def naive_rewards(made: SeqGAN, tokens: torch.Tensor, rollouts: int, seed: int) -> torch.Tensor:
    """(N, T): complete each prefix by calling the whole network for every token, then judge with the discriminator."""
    source = torch.Generator().manual_seed(seed)
    rewards = torch.zeros(tokens.shape)
    with torch.no_grad():
        for t in range(1, LENGTH):
            for _ in range(rollouts):
                text = tokens.clone()
                for s in range(t, LENGTH):
                    logits = made.rollout(text)[:, s]
                    text[:, s] = torch.multinomial(logits.softmax(1), 1, generator=source)[:, 0]
                rewards[:, t - 1] += torch.sigmoid(made.discriminator(text)) / rollouts
        rewards[:, -1] = torch.sigmoid(made.discriminator(tokens))
    return rewards


def fast_rewards(made: SeqGAN, tokens: torch.Tensor, seed: int) -> torch.Tensor:
    rng = torch.rand(len(tokens), ROLLOUTS * LENGTH * (LENGTH - 1) // 2, generator=torch.Generator().manual_seed(seed))
    return made.rewards(NonSaturating(), tokens, rng)


def test_rewards_agree_with_plain_rollouts_at_the_noise_ceiling(seqgan):
    """Two estimators of one expectation correlate as well as two runs of either.

    The check is a z-score a cell, too: the mean over K completions has variance s² / K, so that differences over
    sqrt(2 s² / K) have mean square 1. A reshape that scrambles sentences and positions is far outside of both.
    """
    tokens = seqgan.generator.sample(torch.rand(24, LENGTH, generator=torch.Generator().manual_seed(1)))
    naive, again = naive_rewards(seqgan, tokens, ROLLOUTS, 1), naive_rewards(seqgan, tokens, ROLLOUTS, 2)
    fast = fast_rewards(seqgan, tokens, 3)

    def correlation(a, b):
        return float(torch.corrcoef(torch.stack([a[:, :-1].flatten(), b[:, :-1].flatten()]))[0, 1])

    ceiling = correlation(naive, again)
    assert ceiling > 0.9  # the rewards vary, so the comparison says something
    assert correlation(fast, naive) > ceiling - 0.02
    noise = (naive - again)[:, :-1].square().mean()
    assert 0.7 < float((fast - naive)[:, :-1].square().mean() / noise) < 1.4
    scrambled = fast.T.reshape(24, LENGTH)  # the mistake of a known implementation
    assert correlation(scrambled, naive) < 0.5


def test_the_last_reward_is_the_discriminators_own_opinion(seqgan):
    tokens = seqgan.generator.sample(torch.rand(24, LENGTH))
    wanted = torch.sigmoid(seqgan.discriminator(tokens))
    torch.testing.assert_close(fast_rewards(seqgan, tokens, 0)[:, -1], wanted, atol=1e-5, rtol=0)


def test_completions_keep_their_prefix_and_their_sentence(seqgan):
    """Judge by the prefix alone: every reward is then known exactly."""
    tokens = seqgan.generator.sample(torch.rand(5, LENGTH))
    seen = []

    def judge(sequences, rows, t):
        seen.append((sequences.clone(), rows.clone()))
        return sequences[:, 0] * 100.0 + rows

    rng = torch.rand(5, 3 * LENGTH * (LENGTH - 1) // 2)
    values = rollout_values(seqgan.rollout, tokens, rng, judge, rollouts=3, block=6)
    wanted = (tokens[:, 0] * 100.0 + torch.arange(5))[:, None].expand(5, LENGTH - 1)
    assert torch.equal(values, wanted)
    blocks_of_a_prefix = 3  # 5 sentences in blocks of two
    assert len(seen) == blocks_of_a_prefix * (LENGTH - 1)
    for index, (sequences, rows) in enumerate(seen):
        t = 1 + index // blocks_of_a_prefix
        assert torch.equal(sequences[:, :t], tokens[rows][:, :t])
        assert len({tuple(row) for row in sequences.tolist()}) > 1  # the completions differ


def test_completions_are_drawn_from_the_policy(seqgan, monkeypatch):
    """The last token's distribution after a fixed prefix, by a chi-squared test; equal completions are judged too."""
    monkeypatch.setattr(game, "asynchronous", lambda device: True)
    tokens = seqgan.generator.sample(torch.rand(1, LENGTH))
    rollouts, last = 20_000, []

    def judge(sequences, rows, t):
        last.append(sequences[:, -1])
        return torch.zeros(len(sequences))

    steps = LENGTH * (LENGTH - 1) // 2
    rng = torch.rand(1, rollouts * steps, generator=torch.Generator().manual_seed(0))
    rollout_values(seqgan.rollout, tokens, rng, judge, rollouts=rollouts)
    probabilities = seqgan.rollout(tokens)[0, -1].softmax(0).detach().numpy()
    counts = torch.bincount(last[-1], minlength=WORDS).numpy()  # of the prefix of T - 1 tokens
    assert _chi_squared(counts, probabilities) > 1e-4


def _chi_squared(counts, probabilities):
    expected = probabilities / probabilities.sum() * counts.sum()
    common = expected >= 5
    observed = [*counts[common], counts[~common].sum()]
    wanted = [*expected[common], expected[~common].sum()]
    if wanted[-1] < 5:
        observed[-2:] = [observed[-2] + observed[-1]]
        wanted[-2:] = [wanted[-2] + wanted[-1]]
    return stats.chisquare(observed, wanted, sum_check=False).pvalue


@pytest.mark.parametrize(("words", "scale"), [(5000, 1.0), (37, 1.0), (37, 40.0), (1, 1.0)])
def test_the_sampler_draws_from_the_softmax(words, scale):
    """All sizes that do and do not fill the groups, and logits too large to be exponentiated as they are."""
    torch.manual_seed(words)
    weight, bias = torch.randn(6, words) * scale, torch.randn(words) * scale
    hidden = torch.tanh(torch.randn(3, 6))
    sampler = SoftmaxSampler(weight, bias)
    assert sampler._bounded == (scale == 1.0)
    drawn = sampler(hidden, torch.rand(3, 40_000))
    for row in range(3):
        probabilities = torch.softmax(hidden[row] @ weight + bias, 0).double().numpy()
        counts = torch.bincount(drawn[row], minlength=words).numpy()
        assert len(counts) == words
        if words > 1 and probabilities.max() < 0.999:
            assert _chi_squared(counts, probabilities) > 1e-4


def test_the_sampler_inverts_the_distribution_function():
    """Exactly: token v for u in [F(v - 1), F(v)); the ends of [0, 1) never select what has no probability."""
    weight = torch.zeros(1, 21)
    bias = torch.full((21,), -math.inf)
    bias[[3, 9, 17]] = torch.log(torch.tensor([0.25, 0.5, 0.25]))
    sampler = SoftmaxSampler(weight, bias)
    uniforms = torch.tensor([[0.0, 0.2, 0.2501, 0.7, 0.7501, 0.9, 1 - 2**-24]])
    assert sampler(torch.ones(1, 1), uniforms).tolist() == [[3, 3, 9, 9, 17, 17, 17]]


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_windows_of_a_prefix_are_read_once(seqgan, pooling):
    """Features of completions from those of their prefix and shared parts of windows are those of the convolutions."""
    seqgan.discriminator.pooling = pooling
    tokens = torch.randint(WORDS, (33, LENGTH))
    tables = seqgan.discriminator.tables(tokens, torch.float32)
    rows = torch.randint(33, (50,))
    for t in [*range(1, LENGTH), 3]:
        completed = torch.cat([tokens[rows, :t], torch.randint(WORDS, (50, LENGTH - t))], 1)
        wanted = convolved(seqgan, completed)
        torch.testing.assert_close(tables.features(completed, rows, t), wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tables.features(completed[:7], rows[:7], t), wanted[:7], atol=1e-5, rtol=1e-5)


def convolved(seqgan, tokens):
    embedded = F.embedding(tokens, seqgan.discriminator.embedding).transpose(1, 2)
    banks = zip(seqgan.discriminator.weights, seqgan.discriminator.biases, strict=True)
    responses = [F.relu(F.conv1d(embedded, w, b)) for w, b in banks]
    largest = seqgan.discriminator.pooling == "max"
    return torch.cat([found.amax(2) if largest else found.sum(2) for found in responses], 1)


def test_equal_completions_are_judged_once(seqgan):
    """A text that has ended has one completion: sixteen of each prefix that holds the end are one call's row. Prefixes
    of different texts stay apart, though they end alike."""
    seqgan.generator.output_bias.data[0] = 6
    seqgan.rollout.load_state_dict(seqgan.generator.state_dict())
    tokens = seqgan.generator.sample(torch.rand(9, LENGTH), ends=True)
    rng = torch.rand(9, ROLLOUTS * LENGTH * (LENGTH - 1) // 2)
    judged, values = [], []
    for once in (True, False):

        def judge(sequences, rows, t):
            judged.append(len(sequences))
            return torch.sigmoid(seqgan.discriminator(sequences))

        with pytest.MonkeyPatch.context() as patch:
            if not once:
                patch.setattr(game, "asynchronous", lambda device: True)
            values.append(rollout_values(seqgan.rollout, tokens, rng, judge, rollouts=ROLLOUTS, ends=True))
        judged.append(-1)
    torch.testing.assert_close(values[0], values[1], atol=1e-6, rtol=0)
    middle = judged.index(-1)
    assert sum(judged[:middle]) < sum(judged[middle + 1 : -1]) / 2


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_rewards_with_shared_windows_are_those_of_whole_completions(seqgan, pooling):
    """The same random numbers, each completion judged alone by the discriminator's convolutions."""
    seqgan.discriminator.pooling = pooling
    tokens = seqgan.generator.sample(torch.rand(9, LENGTH))
    rng = torch.rand(9, ROLLOUTS * LENGTH * (LENGTH - 1) // 2, generator=torch.Generator().manual_seed(5))

    def judge(sequences, rows, t):
        assert torch.equal(sequences[:, :t], tokens[rows, :t])
        return torch.sigmoid(seqgan.discriminator(sequences))

    wanted = rollout_values(seqgan.rollout, tokens, rng, judge, rollouts=ROLLOUTS, block=2 * ROLLOUTS)
    assert wanted.std() > 0.01
    torch.testing.assert_close(fast_rewards(seqgan, tokens, 5)[:, :-1], wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_token_tables_are_the_convolutions(seqgan, pooling):
    seqgan.discriminator.pooling = pooling
    tokens = torch.randint(WORDS, (33, LENGTH))
    wanted = convolved(seqgan, tokens)
    torch.testing.assert_close(seqgan.discriminator(tokens), seqgan.discriminator.head(wanted))
    fixed = seqgan.discriminator.fixed_head(torch.float32)
    torch.testing.assert_close(fixed(wanted), seqgan.discriminator.head(wanted), atol=1e-5, rtol=1e-5)
    half = seqgan.discriminator.tables(tokens, torch.bfloat16).features(tokens, torch.arange(33), 3)
    torch.testing.assert_close(half, wanted, atol=0.1, rtol=0.05)


def test_cached_states_equal_the_whole_network(seqgan):
    tokens = torch.randint(WORDS, (4, LENGTH))
    hidden = seqgan.generator.hidden_states(tokens)
    for t, state in enumerate(prefix_states(seqgan.generator, tokens), 1):
        torch.testing.assert_close(state.hidden, hidden[:, t], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("deviation", [0.1, 1.0, 8.0])
def test_weighted_likelihood_equals_autograd(deviation):
    """Value and gradients, also where logits are too large to be exponentiated as they are."""
    torch.manual_seed(0)
    generator = LSTMGenerator(300, 6, 6, deviation).double().float()
    tokens, weights = torch.randint(300, (7, 5)), torch.randn(7, 5)
    plain = (generator.nll(tokens) * weights).sum()
    with_gradients = generator.nll(tokens)
    with torch.no_grad():  # another implementation: a block of rows at a time
        torch.testing.assert_close(generator.nll(tokens), with_gradients.detach(), rtol=1e-4, atol=1e-4)
    blocked = generator.weighted_nll(tokens, weights)
    torch.testing.assert_close(blocked, plain, rtol=1e-4, atol=1e-3)
    for a, b in zip(
        torch.autograd.grad(blocked, list(generator.parameters())),
        torch.autograd.grad(plain, list(generator.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_weighted_likelihood_crosses_blocks(monkeypatch):
    monkeypatch.setattr("gan_text.networks.sampler.BLOCK_BYTES", 4 * 11 * 16)  # 16 rows a block
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(37, 4, requires_grad=True), torch.randn(4, 11), torch.randn(11)
    targets, weights = torch.randint(11, (37,)), torch.rand(37)
    found = weighted_nll(hidden, weight, bias, targets, weights)
    wanted = (F.cross_entropy(hidden @ weight + bias, targets, reduction="none") * weights).sum()
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, hidden), torch.autograd.grad(wanted, hidden))


def test_texts_that_end_stay_ended():
    torch.manual_seed(0)
    config = SeqGAN.Config(embedding=8, hidden=8, deviation=0.5, filters=[(1, 4)], negatives=8, rollouts=4)
    made = SeqGAN(config, token_fields(LENGTH, 6, 0))
    tokens = made.generator.sample(torch.rand(50, LENGTH), ends=True)
    ended = (tokens == 0).cummax(1).values
    assert ended.any()
    assert (tokens[ended] == 0).all()

    def judge(sequences, rows, t):
        assert (sequences[(sequences == 0).cummax(1).values] == 0).all()
        return torch.zeros(len(sequences))

    rng = torch.rand(50, 4 * LENGTH * (LENGTH - 1) // 2)
    rollout_values(made.rollout, tokens, rng, judge, rollouts=4, ends=True)


def test_a_field_says_whether_texts_end_early():
    fields: dict[str, FieldSpec] = token_fields(5, 9, 5)
    assert not SeqGAN(SeqGAN.Config(filters=[(1, 2)], negatives=2), fields).ends
