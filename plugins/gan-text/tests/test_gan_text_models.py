"""Architectures: published parameter counts, exact identities, and generation that depends on nothing beside it.

One file, because most tests hold all architectures to the same promises.
"""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from gan.contracts import Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import BadData, UsageError
from gan.game import Batch
from gan.losses import NonSaturating, RelativisticPairing, Wasserstein
from gan.penalties import GradientPenalty
from gan.weights import restored
from gan_text.architectures.gpt import GPT
from gan_text.architectures.gpt_seqgan import GPTSeqGAN
from gan_text.architectures.gpt_spin import GPTSpin
from gan_text.architectures.mle import MLE
from gan_text.architectures.relgan import RelGAN, largest
from gan_text.architectures.seqgan import SeqGAN
from gan_text.data.fields import token_fields
from gan_text.networks.lstm import LSTMGenerator, lengths_of, sequence_mask
from gan_text.oracle import draw_oracle, load_oracle, nll_oracle, oracle_from, oracle_samples
from gan_text.pretrained import located
from gan_text.sampling import SamplingOptions, choose, filters
from transformers import DynamicCache

CPU = torch.device("cpu")
PAPER = token_fields(20, 5000, 20)
SMALL = token_fields(6, 12, 0, lambda text: [int(c) for c in text])


def counted(*modules):
    return [sum(p.numel() for p in module.parameters()) for module in modules]


def batch_of(tokens, lengths=None, position=0, seed=0):
    lengths = torch.full((len(tokens),), tokens.shape[1]) if lengths is None else lengths
    return Batch(
        {"tokens": tokens, "length": lengths}, StepDraws(seed, len(tokens), 0, len(tokens), CPU), position, 0.0
    )


def small_models():
    torch.manual_seed(0)
    return [
        SeqGAN(
            SeqGAN.Config(embedding=8, hidden=8, filters=[(1, 4), (3, 4)], negatives=8, rollouts=2, deviation=0.5),
            SMALL,
        ),
        MLE(MLE.Config(embedding=8, hidden=8, deviation=0.5), SMALL),
        RelGAN(RelGAN.Config(embedding=8, heads=2, head_width=4, representations=4, widths=[2, 3], filters=4), SMALL),
        GPT(GPT.Config(layers=2, heads=2, width=16), SMALL),
    ]


# Published counts


def test_seqgan_has_the_papers_parameters():
    made = SeqGAN(SeqGAN.Config(negatives=2), PAPER)
    assert counted(made.generator, made.discriminator) == [333_320, 7_045_402]


def test_relgan_has_the_papers_parameters():
    made = RelGAN(RelGAN.Config(), PAPER)
    assert counted(made.generator, made.discriminator) == [4_853_386, 1_886_801]


@pytest.mark.parametrize(
    ("layers", "heads", "width", "context", "count"),
    [(6, 6, 384, 256, 10_770_816), (3, 3, 48, 128, 94_176), (4, 4, 128, 128, 818_048), (6, 6, 192, 128, 2_706_624)],
)
def test_gpt_has_the_published_parameters(layers, heads, width, context, count):
    made = GPT(GPT.Config(layers=layers, heads=heads, width=width), token_fields(context, 65, context))
    assert counted(made) == [count]


# The recurrent generator and its oracle


def test_the_lstm_is_the_textbooks():
    """One bias a gate: `torch.nn.LSTM` with its second bias at zero, gates in its own order i, f, g, o."""
    torch.manual_seed(0)
    ours, theirs = LSTMGenerator(11, 5, 7, 0.5), torch.nn.LSTM(5, 7, batch_first=True)
    order = [0, 1, 3, 2]
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.cat([ours.input_weight.chunk(4, 1)[k] for k in order], 1).T)
        theirs.weight_hh_l0.copy_(torch.cat([ours.hidden_weight.chunk(4, 1)[k] for k in order], 1).T)
        theirs.bias_ih_l0.copy_(torch.cat([ours.gate_bias.chunk(4)[k] for k in order]))
        theirs.bias_hh_l0.zero_()
    tokens = torch.randint(11, (3, 6))
    before = torch.cat([torch.zeros(3, 1, dtype=torch.int64), tokens[:, :-1]], 1)
    wanted, _ = theirs(ours.embedding[before])
    torch.testing.assert_close(ours.hidden_states(tokens), wanted, atol=1e-6, rtol=1e-5)


def test_a_drawn_oracle_is_normal_and_its_own_best_judge():
    """Every parameter from N(0, 1); NLL-oracle of its samples is its entropy, below that of any other language."""
    oracle = oracle_from(draw_oracle(500, 16, seed=3))
    for parameter in oracle.parameters():
        assert abs(float(parameter.mean())) < 0.5
        assert 0.7 < float(parameter.std()) < 1.3
    own = nll_oracle(oracle, torch.from_numpy(oracle_samples(oracle, 1000, 20, 0))).mean()
    other = oracle_from(draw_oracle(500, 16, seed=4))
    foreign = nll_oracle(oracle, torch.from_numpy(oracle_samples(other, 1000, 20, 0))).mean()
    uniform = nll_oracle(oracle, torch.randint(500, (1000, 20))).mean()
    assert own < math.log(500) < uniform < foreign + 2
    assert own < foreign


@pytest.mark.shared
def test_the_published_oracle_scores_its_published_values(shared_text):
    """5.751 for its own samples, 11.4455 for uniform tokens (both ± 0.02)."""
    oracle = load_oracle(shared_text / "seqgan_oracle.npz")
    own = nll_oracle(oracle, torch.from_numpy(oracle_samples(oracle, 6_000, 20, 0))).mean()
    uniform = nll_oracle(oracle, torch.randint(5000, (6_000, 20), generator=torch.Generator().manual_seed(0))).mean()
    assert own == pytest.approx(5.751, abs=0.02)
    assert uniform == pytest.approx(11.4455, abs=0.02)


def test_a_file_that_is_no_oracle_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(BadData, match="a.npz"):
        load_oracle(tmp_path / "a.npz")
    arrays = draw_oracle(20, 4)
    with pytest.raises(BadData, match="is not an oracle"):
        oracle_from({**arrays, "W_out": arrays["W_out"][:, :-1]})


def test_lengths_and_masks():
    tokens = torch.tensor([[3, 0, 0], [0, 0, 0], [1, 2, 3], [1, 0, 2]])
    assert lengths_of(tokens).tolist() == [1, 0, 3, 1]
    assert sequence_mask(torch.tensor([1, 0, 3]), 3).tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]


# SeqGAN's updates


def test_the_discriminators_loss_is_the_cross_entropy_of_its_two_logits():
    """ns loss on logit differences, halved, is softmax cross-entropy over both halves of the batch."""
    made = small_models()[0]
    tokens = torch.randint(1, 12, (8, 6))
    terms = made.classify(NonSaturating(), batch_of(tokens))
    dropout = StepDraws(0, 8, 0, 8, CPU).rand(2, 8).transpose(0, 1).flatten(0, 1)
    fake = made.negatives[:8].long()
    scores = made.discriminator(torch.cat([tokens, fake]), dropout)
    logits = torch.stack([torch.zeros_like(scores), scores], 1)
    labels = torch.tensor([1] * 8 + [0] * 8)
    torch.testing.assert_close(terms["loss"], torch.nn.functional.cross_entropy(logits, labels))


def test_negatives_are_renewed_when_it_is_time_and_only_then():
    made = small_models()[0]
    made.config.renew = 16
    seen = []
    for position in range(0, 40, 8):
        with torch.no_grad():
            made.generator.output_bias += 1.0  # the generator moves on …
        made.classify(NonSaturating(), batch_of(torch.randint(1, 12, (8, 6)), position=position))
        seen.append(made.negatives.clone())
    same = [torch.equal(a, b) for a, b in zip(seen, seen[1:], strict=False)]
    assert same == [True, False, True, False]  # … and its samples change at 16 and at 32


def test_negatives_are_drawn_at_their_temperature():
    """Near 0 the likeliest token alone; at 1 what the generator draws from the same numbers."""
    made = small_models()[0]
    batch = batch_of(torch.randint(1, 12, (8, 6)))
    plain = made.negatives_for(batch)
    made.config.negatives_temperature = 1e-3
    cold = made.negatives_for(batch)
    assert not torch.equal(cold, plain)
    assert (cold == cold[:1]).all()
    with torch.no_grad():
        assert torch.equal(made.generator(cold[:1]).argmax(2), cold[:1])


def test_a_transformer_plays_the_same_game():
    """Every token has its finished text's reward, less the batch's mean; the gradient is that of reward times
    log-probability, beside the likelihood of real texts."""
    torch.manual_seed(0)
    config = GPTSeqGAN.Config(layers=1, heads=2, width=16, filters=[(1, 4), (3, 4)], negatives=8, likelihood=3.0)
    made = GPTSeqGAN(config, SMALL)
    batch = batch_of(torch.randint(1, 12, (7, 6)), torch.tensor([1, 2, 3, 4, 5, 6, 6]))
    terms = made.reinforce(NonSaturating(), batch)
    tokens = made.generator.sample(StepDraws(0, 7, 0, 7, CPU).rand(1, 6).flatten(0, 1), ends=True)
    lengths = lengths_of(tokens)
    assert len(set(lengths.tolist())) > 1  # texts that end early are among them
    mask = sequence_mask(lengths, 6)
    final = torch.sigmoid(made.discriminator(tokens)).detach()[:, None].expand(-1, 6)
    advantage = final - (final * mask).sum(0) / mask.sum(0).clamp(min=1)
    log = made.generator.gpt.logits(tokens).log_softmax(2).gather(2, tokens[..., None])[..., 0]
    torch.testing.assert_close(terms["loss"], -(log * advantage * mask).sum())
    nats, count = made.nll(batch.fields)
    torch.testing.assert_close(terms["nll"], 3 * nats.sum() / count.sum())
    (terms["loss"] + terms["nll"]).backward()
    assert all(weight.grad is not None for weight in made.generator.parameters())


def test_a_writer_is_the_gpt_that_generates():
    """Its samples are those of `GPT.generate` from the same numbers; dropout is off while it draws."""
    torch.manual_seed(0)
    config = GPTSeqGAN.Config(layers=1, heads=2, width=16, dropout=0.5, filters=[(1, 4)], negatives=8)
    made = GPTSeqGAN(config, SMALL).train()
    drawn = made.generator.sample(SeededDraws.of(3, 0, 5, CPU).rand(6), ends=True)
    assert made.generator.gpt.training
    with torch.no_grad():
        again = made.eval().generate(5, SeededDraws.of(3, 0, 5, CPU), Request())
    assert torch.equal(drawn, again["tokens"].long())


def spin(**config):
    torch.manual_seed(0)
    return GPTSpin(GPTSpin.Config(layers=1, heads=2, width=32, **config), SMALL).train()


def test_self_play_begins_at_log_2_and_is_the_published_loss():
    """Against an equal opponent the loss is log 2; then -log σ(β (ratio of real - ratio of written)). No dropout."""
    made = spin(dropout=0.5, beta=0.3, likelihood=2.0)
    with torch.no_grad():
        made.model.transformer.wte.weight.mul_(3)
    real = torch.randint(1, 12, (7, 6)), torch.tensor([1, 2, 3, 4, 5, 6, 6])
    first = made.play(batch_of(*real))
    assert first["loss"].item() == pytest.approx(math.log(2), abs=1e-5)
    assert made.training
    with torch.no_grad():
        for weight in made.model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    batch = batch_of(*real, position=7)
    found = made.play(batch)
    made.eval()
    tokens = made.sample(StepDraws(0, 7, 0, 7, CPU).rand(6), model=made.opponent)
    written = {"tokens": tokens, "length": lengths_of(tokens)}
    ratio = [made.nll(texts, made.opponent)[0] - made.nll(texts)[0] for texts in (batch.fields, written)]
    torch.testing.assert_close(found["loss"], -torch.sigmoid(0.3 * (ratio[0] - ratio[1])).log().mean())
    nats, counts = made.nll(batch.fields)
    torch.testing.assert_close(found["nll"], 2 * nats.sum() / counts.sum())
    (found["loss"] + found["nll"]).backward()
    assert all(weight.grad is None for weight in made.opponent.parameters())
    assert all(weight.grad is not None for weight in made.model.parameters())


def test_the_opponent_is_the_model_of_the_last_renewal():
    made = spin(renew=14)
    with torch.no_grad():
        for position, renewed in ((0, True), (7, False), (14, True), (21, False)):
            made.model.transformer.wte.weight.add_(1.0)
            batch = batch_of(torch.randint(1, 12, (7, 6)), torch.full((7,), 6), position)
            made.play(batch)
            assert torch.equal(made.opponent.transformer.wte.weight, made.model.transformer.wte.weight) == renewed


def test_self_play_makes_more_texts_right():
    """Texts count upwards from a random token, modulo 11. After a short likelihood training four in five do; the
    game takes away a third of the errors at least, and real texts do not become unlikelier."""
    made = spin(beta=0.3, renew=640)
    optimizer = torch.optim.Adam(made.model.parameters(), 3e-3)
    numbers = torch.Generator().manual_seed(1)

    def texts(count):
        tokens = (torch.randint(0, 11, (count, 1), generator=numbers) + torch.arange(6)) % 11 + 1
        return tokens, torch.full((count,), 6)

    def right():
        with torch.no_grad():
            tokens = made.eval().sample(SeededDraws.of(5, 0, 500, CPU).rand(6))
            nats = made.nll(dict(zip(("tokens", "length"), texts(200), strict=True)))[0].mean()
        made.train()
        good = ((tokens[:, 1:] - tokens[:, :-1]) % 11 == 1).all(1) & (tokens > 0).all(1)
        return float(good.float().mean()), float(nats)

    def step(objective, position):
        batch = batch_of(*texts(64), position * 64, seed=position)
        optimizer.zero_grad()
        sum(v for k, v in objective(batch).items() if not k.startswith("_")).backward()
        optimizer.step()

    for number in range(90):
        step(made.likelihood, number)
    before, nats = right()
    optimizer = torch.optim.Adam(made.model.parameters(), 1e-3)
    for number in range(80):
        step(made.play, number)
    after, nats_after = right()
    assert 0.6 < before < 0.9
    assert 1 - after < 0.7 * (1 - before)
    assert nats_after < 1.05 * nats


def test_the_reward_follows_the_loss():
    """exp(-L) of the non-saturating loss is the probability of being real; of Wasserstein's, -L is the score."""
    made = small_models()[0]
    tokens = torch.randint(1, 12, (5, 6))
    rng = torch.rand(5, 2 * 15)
    last = made.rewards(NonSaturating(), tokens, rng)[:, -1]
    torch.testing.assert_close(last, torch.sigmoid(made.discriminator(tokens)))
    made.config.reward = "score"
    last = made.rewards(Wasserstein(), tokens, rng)[:, -1]
    torch.testing.assert_close(last, made.discriminator(tokens))


def test_reinforce_is_the_published_gradient():
    """-Σ Q log π over sequences and positions, without a baseline, and with the batch's mean taken away."""
    made = small_models()[0]
    for baseline in (False, True):
        made.config.baseline = baseline
        batch = batch_of(torch.randint(1, 12, (7, 6)), position=64)
        terms = made.reinforce(NonSaturating(), batch)
        uniforms = StepDraws(0, 7, 0, 7, CPU).rand(1, 6 + 2 * 15).flatten(0, 1)
        tokens = made.generator.sample(uniforms[:, :6], ends=True)
        rewards = made.rewards(NonSaturating(), tokens, uniforms[:, 6:])
        mask = sequence_mask(lengths_of(tokens), 6)
        if baseline:
            rewards = rewards - (rewards * mask).sum(0) / mask.sum(0).clamp(min=1)
        torch.testing.assert_close(terms["loss"], (made.generator.nll(tokens) * rewards * mask).sum())


def test_the_rollout_policy_follows_and_its_word_vectors_are_copied():
    made = small_models()[0]
    before = {name: p.clone() for name, p in made.rollout.named_parameters()}
    made.follow(batch_of(torch.zeros(1, 6)))
    for name, weight in made.rollout.named_parameters():
        target = made.generator.get_parameter(name)
        wanted = target if name == "embedding" else 0.8 * before[name] + 0.2 * target
        torch.testing.assert_close(weight, wanted)


def test_the_adversarial_phase_starts_with_the_generator_as_policy():
    made = small_models()[0]
    made.reinforce(NonSaturating(), batch_of(torch.randint(1, 12, (4, 6)), position=0))
    for name, weight in made.rollout.named_parameters():
        assert torch.equal(weight, made.generator.get_parameter(name))


# RelGAN


def relaxed(made, count, length, sharpness, **options):
    return made.generator.relaxed(StepDraws(5, count, 0, count, CPU), length, sharpness, **options)


def test_relaxed_samples_are_probabilities_and_nearly_words_at_the_end():
    made = small_models()[2]
    soft, sharp = (relaxed(made, 16, 6, sharpness) for sharpness in (1.0, 1000.0))
    torch.testing.assert_close(soft.sum(2), torch.ones(16, 6))
    assert torch.equal(soft.argmax(2), sharp.argmax(2))  # the same text, made with the same noise
    assert sharp.max(2).values.mean() > 0.95 > soft.max(2).values.mean()


def test_relaxed_samples_follow_the_generators_distribution():
    """The largest noisy logit is a sample of the softmax (Gumbel's trick)."""
    made = small_models()[2]
    first = relaxed(made, 20_000, 1, 1.0).argmax(2)[:, 0]
    memory = made.generator.memory.initial(1)
    logits, _ = made.generator.step(torch.zeros(1, dtype=torch.int64), memory)
    frequencies = torch.bincount(first, minlength=12) / 20_000
    torch.testing.assert_close(frequencies, logits[0].softmax(0).detach(), atol=0.015, rtol=0)


@pytest.mark.parametrize(("progress", "sharpness"), [(0.0, 4.0), (0.5, 6.0), (1.0, 9.0)])
def test_relgans_sharpness_changes_exponentially(progress, sharpness):
    """4 · (9 / 4)^progress."""
    made = RelGAN(RelGAN.Config(embedding=8, head_width=4, first_sharpness=4, sharpness=9), SMALL)
    batch = Batch({}, StepDraws(5, 16, 0, 16, CPU), 0, progress)
    torch.testing.assert_close(made.fake(batch), relaxed(made, 16, 6, sharpness, ends=True))


def test_relaxed_texts_are_over_after_their_end():
    """Up to its first 0 a text is what it would be without an end, gradients included; then it is 0."""
    made = small_models()[2]
    whole, ended = (relaxed(made, 64, 6, 2.0, ends=ends) for ends in (False, True))
    alive = sequence_mask(lengths_of(whole.argmax(2)), 6).bool()
    assert 0 < int(alive[:, 1:].sum()) < alive[:, 1:].numel()
    torch.testing.assert_close(ended[alive], whole[alive])
    assert torch.equal(ended[~alive], torch.eye(12)[torch.zeros(int((~alive).sum()), dtype=torch.int64)])
    parameters = list(made.generator.parameters())
    weights = torch.randn(64, 6, 12) * alive[..., None]
    for one, other in zip(*(torch.autograd.grad((t * weights).sum(), parameters) for t in (whole, ended))):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_relgans_discriminator_pools_what_each_filter_finds():
    """The same values and gradients as a convolution whose maximum over the text is taken."""
    rows, convolution = torch.randn(5, 9, requires_grad=True), torch.nn.Conv1d(1, 4, 3)
    inputs = [rows, *convolution.parameters()]
    weights = torch.randn(5, 4)
    expected, found = convolution(rows[:, None]).amax(2), largest(rows, convolution)
    torch.testing.assert_close(found, expected)
    for one, other in zip(*(torch.autograd.grad((v * weights).sum(), inputs) for v in (found, expected))):
        torch.testing.assert_close(one, other)


def test_relgans_discriminator_sees_tokens_as_one_hot_rows():
    made = small_models()[2]
    discriminator = made.discriminator.eval()
    batch = batch_of(torch.randint(12, (8, 6)))
    scores = [discriminator(made.tokens(batch)), discriminator(made.one_hot(batch))]
    torch.testing.assert_close(*scores)
    gradients = [torch.autograd.grad(s.square().sum(), discriminator.embedding.weight)[0] for s in scores]
    torch.testing.assert_close(*gradients)


def test_relgans_discriminator_tells_words_apart_from_the_start():
    """Its first scores differ between texts by more than rounding; biases of the usual size would drown the words."""
    torch.manual_seed(0)
    discriminator = RelGAN(RelGAN.Config(head_width=16, representations=8, filters=50), PAPER).discriminator.eval()
    assert all(not layer.bias.any() for layer in discriminator.convolutions)
    scores = discriminator(torch.randint(5000, (64, 20))).detach()
    assert float(scores.std() / scores.abs().mean()) > 0.03


def test_relgan_trains_in_bf16():
    """As the trainer does it: objectives under autocast, weights and gradients in fp32."""
    made = small_models()[2]
    for turn in (turn for phase in made.phases(RelativisticPairing(), {}) for turn in phase.turns):
        batch = batch_of(torch.randint(12, (8, 6)), torch.full((8,), 4))
        with torch.autocast("cpu", torch.bfloat16):
            loss = next(iter(turn.objective(batch).values()))
        for gradient in torch.autograd.grad(loss, list(getattr(made, turn.player).parameters())):
            assert gradient.dtype == torch.float32
            assert bool(gradient.isfinite().all())


def test_relgans_game_can_have_penalties():
    made = small_models()[2]
    adversarial = made.phases(RelativisticPairing(), {"gradient-penalty": GradientPenalty()})[1]
    terms = adversarial.turns[0].objective(batch_of(torch.randint(1, 12, (8, 6))))
    assert float(terms["gradient-penalty"].detach()) > 0


def test_relgans_gradients_reach_the_generator():
    made = small_models()[2]
    adversarial = made.phases(RelativisticPairing(), {})[1]
    batch = batch_of(torch.randint(1, 12, (8, 6)))
    objective = next(turn for turn in adversarial.turns if turn.player == "generator").objective
    gradients = torch.autograd.grad(objective(batch)["loss"], list(made.generator.parameters()))
    assert all(bool(g.abs().sum() > 0) for g in gradients)


# GPT


def small_gpt(**config):
    torch.manual_seed(0)
    return GPT(GPT.Config(layers=2, heads=2, width=32, **config), token_fields(16, 65, 16))


def test_gpt_is_causal():
    made = small_gpt().eval()
    tokens = torch.randint(1, 65, (2, 16))
    changed = tokens.clone()
    changed[:, 9] = (changed[:, 9] + 1) % 65
    before, after = made.logits(tokens), made.logits(changed)
    torch.testing.assert_close(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10:], after[:, 10:])


def test_gpt_starts_at_the_uniform_distribution():
    made = GPT(GPT.Config(), token_fields(64, 65, 64))
    nll = made.likelihood(batch_of(torch.randint(65, (16, 64))))["nll"]
    assert float(nll.detach()) == pytest.approx(math.log(65), abs=0.1)


def test_gpts_weights_are_drawn_as_published():
    """N(0, 0.02); residual projections N(0, 0.02 / sqrt(2 layers)); biases 0; norms (1, 0)."""
    made = GPT(GPT.Config(layers=4, heads=4, width=128), token_fields(64, 65, 64))
    for name, weight in made.model.named_parameters():
        weight = weight.detach()
        if name.endswith("c_proj.weight"):
            assert float(weight.std()) == pytest.approx(0.02 / math.sqrt(8), rel=0.05), name
        elif weight.ndim >= 2:
            assert float(weight.std()) == pytest.approx(0.02, rel=0.05), name
        else:
            norm_weight = "ln_" in name and name.endswith("weight")
            assert torch.equal(weight, torch.full_like(weight, float(norm_weight))), name


def test_gpts_cache_equals_the_whole_forward():
    made = small_gpt().eval()
    tokens = torch.randint(65, (3, 12))
    whole = made.model(input_ids=tokens).logits
    keyword = "cache" if "cache" in inspect.signature(made.model.forward).parameters else "past_key_values"
    cache, parts = DynamicCache(config=made.model.config), []  # filled by the calls
    for t in range(12):
        parts.append(made.model(input_ids=tokens[:, t : t + 1], use_cache=True, **{keyword: cache}).logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=0)


def test_gpt_learns_one_batch_by_heart():
    """Four texts of 64 tokens: which one it is costs ln 4 nats, 0.022 a token, that nobody can know."""
    torch.manual_seed(0)
    made = GPT(GPT.Config(layers=2, heads=2, width=32), token_fields(64, 65, 64))
    tokens = torch.randint(1, 65, (4, 64))
    adam = torch.optim.AdamW(made.parameters(), lr=1e-2)
    for _ in range(250):
        nll = made.likelihood(batch_of(tokens))["nll"]
        adam.zero_grad()
        nll.backward()
        adam.step()
    assert float(nll.detach()) < 0.05


def test_gpt_writes_beyond_its_context():
    made = small_gpt().eval()
    options = SamplingOptions(max_length=50)
    made_texts = made.generate(3, SeededDraws.of(0, 0, 3, CPU), Request(options))
    assert made_texts["tokens"].shape == (3, 50)
    assert made_texts["length"].tolist() == [50, 50, 50]
    shorter = made.generate(3, SeededDraws.of(0, 0, 3, CPU), Request(None))
    torch.testing.assert_close(shorter["tokens"], made_texts["tokens"][:, :16])  # the same beginning


def test_gpt_state_has_each_weight_once_and_loads():
    made, other = small_gpt(), small_gpt()
    state = made.state_dict()
    assert len({value.data_ptr() for value in state.values()}) == len(state)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    other.load_state_dict(state)
    assert torch.equal(other.model.lm_head.weight, made.model.lm_head.weight)


def test_a_pretrained_model_is_loaded_and_its_end_token_becomes_number_zero(tmp_path):
    """A folder as transformers writes it, offline; the same text has the same likelihood in both numberings."""
    from gan_text.data.vocabulary import Subwords
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    vocabulary = {c: i for i, c in enumerate("abcdef")} | {"<|endoftext|>": 6}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>").save_pretrained(tmp_path)
    theirs = GPT2LMHeadModel(
        GPT2Config(vocab_size=7, n_positions=8, n_embd=16, n_layer=1, n_head=2, eos_token_id=6, bos_token_id=6)
    )
    theirs.save_pretrained(tmp_path)

    words = Subwords.pretrained(str(tmp_path))
    tokens = torch.from_numpy(words.encode("badcafe"))[None]
    assert words.decode(tokens[0].tolist()) == "badcafe"
    assert tokens[0, 1] == 6  # "a" was 0
    ours = GPT(GPT.Config(pretrained=str(tmp_path)), token_fields(7, words.size, 7, words.encode)).eval()
    original = torch.tensor([[6, 1, 0, 3, 2, 0, 5, 4]])
    wanted = theirs.eval()(input_ids=original[:, :-1]).logits.log_softmax(2)[0, range(7), original[0, 1:]]
    nats, count = ours.nll({"tokens": tokens, "length": torch.tensor([7])})
    torch.testing.assert_close(nats[0], -wanted.sum(), rtol=1e-5, atol=1e-5)
    assert count.tolist() == [7]
    with pytest.raises(UsageError, match="model.pretrained"):
        GPT(GPT.Config(pretrained=str(tmp_path / "nothing")), token_fields(7, 7, 7))
    (tmp_path / "model.safetensors").unlink()
    fields = token_fields(7, words.size, 7, words.encode)
    with restored():  # a checkpoint brings the weights
        assert GPT(GPT.Config(pretrained=str(tmp_path)), fields).load_state_dict(ours.state_dict())
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match="safetensors only"):
        GPT(GPT.Config(pretrained=str(tmp_path)), fields)


@pytest.mark.rule("L4")
@pytest.mark.parametrize(
    "name", ["org/name", "gpt2", "org/name@" + "a" * 40, "org/name@main", "https://host/x", "../x"]
)
def test_a_recipe_causes_no_download(name, monkeypatch):
    """A model that is neither here nor allowed to be downloaded is refused before a connection is made."""
    from gan_text.data.vocabulary import Subwords

    def connect(*arguments, **settings):
        raise AssertionError("the network was used")

    monkeypatch.delenv("GAN_ALLOW_DOWNLOAD", raising=False)
    monkeypatch.setattr("socket.socket.connect", connect)
    monkeypatch.setattr("socket.getaddrinfo", connect)
    with pytest.raises(UsageError, match="model.pretrained"):
        GPT(GPT.Config(pretrained=name), token_fields(7, 7, 7))
    with pytest.raises(UsageError, match="modality.pretrained"):
        Subwords.pretrained(name)


@pytest.mark.rule("L4")
def test_only_a_commit_is_downloaded_and_only_when_allowed(monkeypatch):
    commit = "org/name@" + "a" * 40
    monkeypatch.setenv("GAN_ALLOW_DOWNLOAD", "1")
    assert located(commit, "x")["local_files_only"] is False
    assert located(commit, "x")["revision"] == "a" * 40
    assert located("org/name", "x")["local_files_only"] is True
    monkeypatch.setenv("GAN_ALLOW_DOWNLOAD", "")
    assert located(commit, "x")["local_files_only"] is True


# Generation


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("options", [None, SamplingOptions(temperature=0.7, top_k=5, top_p=0.9, prompt="31")])
def test_a_text_depends_on_its_own_numbers_alone(which, options):
    """Rows 2 … 4 alone equal rows 2 … 4 of eight; a prompt begins every text; 0 ends it."""
    made = small_models()[which].eval()
    with torch.no_grad():
        all_eight = made.generate(8, SeededDraws.of(5, 0, 8, CPU), Request(options))
        three = made.generate(3, SeededDraws.of(5, 2, 3, CPU), Request(options))
    for name in ("tokens", "length"):
        assert torch.equal(all_eight[name][2:5], three[name])
    tokens = all_eight["tokens"]
    assert tokens.dtype == torch.int16
    assert tuple(tokens.shape) == (8, 6)
    assert all_eight["length"].tolist() == lengths_of(tokens).tolist()
    assert (tokens[(tokens == 0).cummax(1).values] == 0).all()
    assert len({tuple(row) for row in tokens.tolist()}) > 1
    if options is not None:
        assert (tokens[:, :2] == torch.tensor([3, 1])).all()


@pytest.mark.parametrize("which", range(4))
def test_likelihoods_agree_with_generation(which):
    """exp(-nats) over all texts of one token and its end is a probability: counted and computed alike."""
    made = small_models()[which].eval()
    with torch.no_grad():
        drawn = made.generate(4000, SeededDraws(range(4000), CPU), Request(SamplingOptions(max_length=1)))
        first = torch.bincount(drawn["tokens"][:, 0].long(), minlength=12) / 4000
        tokens = torch.zeros(12, 6, dtype=torch.int64)
        tokens[:, 0] = torch.arange(12)
        nats, count = made.nll({"tokens": tokens, "length": lengths_of(tokens)})
        empty = float((-nats[0]).exp())
    assert count.tolist() == [1] + [2] * 11
    assert float(first[0]) == pytest.approx(empty, abs=0.03)


def test_filters_are_the_published_ones():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    kept = filters(SamplingOptions(top_k=2))(None, logits).isfinite()
    assert kept.tolist() == [[True, True, False, False]]
    kept = filters(SamplingOptions(top_p=0.75))(None, logits).isfinite()
    assert kept.tolist() == [[True, True, False, False]]  # the smallest set that reaches 0.75
    kept = filters(SamplingOptions(top_p=0.01))(None, logits).isfinite()
    assert kept.tolist() == [[True, False, False, False]]  # one is always left
    assert choose(logits, torch.tensor([0.0])).tolist() == [0]
    assert choose(logits, torch.tensor([0.79])).tolist() == [1]
    assert choose(logits, torch.tensor([0.999])).tolist() == [3]


def test_what_cannot_be_written_is_said():
    made = small_models()[1].eval()
    rng = SeededDraws.of(0, 0, 1, CPU)
    with pytest.raises(UsageError, match="at most 6 tokens"):
        made.generate(1, rng, Request(SamplingOptions(max_length=7)))
    with pytest.raises(UsageError, match="shorten it"):
        made.generate(1, rng, Request(SamplingOptions(prompt="123456")))
    numbers = MLE(MLE.Config(), token_fields(6, 12, 6))
    with pytest.raises(UsageError, match="do not stand for text"):
        numbers.generate(1, rng, Request(SamplingOptions(prompt="1")))
