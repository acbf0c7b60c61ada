"""GPT-GAD: groups of continuations, the published losses, and a game that teaches."""

import pytest
import torch
from gan.contracts import Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import RelativisticPairing
from gan_text.architectures.gpt_gad import GPTGad, credited
from gan_text.data.fields import token_fields
from gan_text.networks.lstm import lengths_of
from torch.nn import functional as F

CPU = torch.device("cpu")
SMALL = token_fields(6, 12, 0, lambda text: [int(c) for c in text])
LOSS = RelativisticPairing()


def made_of(**config):
    torch.manual_seed(0)
    return GPTGad(GPTGad.Config(layers=1, heads=2, width=32, **config), SMALL).train()


def batch_of(tokens, position=0, seed=0):
    lengths = lengths_of(tokens)
    count = len(tokens)
    return Batch({"tokens": tokens, "length": lengths}, StepDraws(seed, count, 0, count, CPU), position, 0.0)


def real_texts(count=5):
    tokens = torch.randint(1, 12, (count, 6), generator=torch.Generator().manual_seed(2))
    tokens[0, 4:] = 0
    return tokens


def changed(module, scale=0.1):
    numbers = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(scale * torch.randn(weight.shape, generator=numbers))


def test_a_continuation_of_a_text_s_own_beginning_is_the_text():
    made = made_of().eval()
    changed(made.model)
    uniforms = SeededDraws.of(4, 0, 50, CPU).rand(6)
    whole = made.sample(uniforms)
    assert torch.equal(made.sample(uniforms, prompts=whole[:, :0]), whole)
    kept = whole[:, 1] > 0  # an end in the prompt would be written over
    assert kept.sum() > 20
    assert torch.equal(made.sample(uniforms[kept], prompts=whole[kept, :2]), whole[kept])


@pytest.mark.parametrize("prompt", [0, 2])
def test_a_group_continues_the_beginning_of_its_real_text(prompt):
    made = made_of(group=3, prompt=prompt, dropout=0.5)
    real = real_texts()
    batch = batch_of(real)
    tokens, lengths = made._group(batch)
    assert made.training
    assert tokens.shape == (15, 6)
    assert torch.equal(tokens[:, :prompt], real[:, :prompt].repeat_interleave(3, 0))
    assert torch.equal(lengths, lengths_of(tokens))
    assert len(set(map(tuple, tokens[3:6].tolist()))) > 1  # not three times the same
    assert made._group(batch)[0] is tokens  # all turns of an iteration share it


def test_a_prompt_leaves_something_to_write():
    with pytest.raises(UsageError, match="model.prompt = 6 leaves nothing of the 6 tokens"):
        made_of(prompt=6)


def test_the_discriminator_begins_as_the_model_and_compares_pairs():
    """-log σ(D(real) - D(written)) over all pairs of a group; the reference is the model of maximum likelihood."""
    made = made_of(group=3)
    changed(made.model)
    _, begin, both = made.phases(LOSS, {})
    assert [turn.player for turn in begin.turns + both.turns] == ["discriminator", "discriminator", "generator"]
    batch = batch_of(real_texts())
    terms = begin.turns[0].objective(batch)
    pairs = zip(made.discriminator.trunk.parameters(), made.model.base_model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    pairs = zip(made.reference.parameters(), made.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    tokens, lengths = made._group(batch)
    real = made.discriminator(batch["tokens"], batch["length"])[:, -1]
    wins = real[:, None] - made.discriminator(tokens, lengths)[:, -1].view(5, 3)
    torch.testing.assert_close(terms["loss"], F.softplus(-wins).mean())
    assert terms["_accuracy"].item() == pytest.approx((wins > 0).float().mean().item())
    terms["loss"].backward()
    assert all(weight.grad is None for weight in [*made.model.parameters(), *made.reference.parameters()])
    changed(made.model)
    begin.turns[0].objective(batch_of(real_texts(), position=5))  # only the first update of the phase copies
    both.turns[0].objective(batch_of(real_texts()))
    assert not torch.equal(made.reference.transformer.wte.weight, made.model.transformer.wte.weight)


def test_scores_read_no_token_after_the_end():
    made = made_of()
    tokens, lengths = torch.tensor([[3, 4, 0, 0, 0, 0]]), torch.tensor([2])
    after = torch.tensor([[3, 4, 0, 7, 8, 9]])
    assert torch.equal(made.discriminator(tokens, lengths), made.discriminator(after, lengths))
    assert not torch.equal(
        made.discriminator(tokens, lengths), made.discriminator(torch.tensor([[3, 5, 0, 0, 0, 0]]), lengths)
    )


@pytest.mark.parametrize("prompt", [0, 2])
def test_the_policy_gradient_is_the_published_one(prompt):
    """-(score - mean of the group) · log π, and the estimate r - log r - 1 of the divergence."""
    made = made_of(group=4, prompt=prompt, dropout=0.5, divergence=0.5)
    changed(made.model)
    changed(made.discriminator)
    made.reference.load_state_dict(made.model.state_dict())
    changed(made.model, 0.05)
    batch = batch_of(real_texts())
    terms = made.reinforce(batch)
    assert made.training
    tokens, lengths = made._group(batch)
    made.eval()
    scores = made.discriminator(tokens, lengths)[:, -1].detach().view(5, 4)
    advantage = scores - scores.mean(1, keepdim=True)
    logs = [
        made.logits(tokens, model).log_softmax(2).gather(2, tokens[:, :, None])[:, :, 0]
        for model in (None, made.reference)
    ]
    places = torch.arange(6)
    mask = (places <= lengths[:, None]) & (places >= prompt)  # with the end
    expected = -(advantage.flatten()[:, None] * logs[0] * mask).sum() / 20 / (6 - prompt)
    torch.testing.assert_close(terms["loss"], expected)
    ratio = logs[1] - logs[0]
    torch.testing.assert_close(terms["divergence"], 0.5 * ((ratio.exp() - ratio - 1) * mask).sum() / 20 / (6 - prompt))
    assert terms["divergence"] > 0
    (terms["loss"] + terms["divergence"]).backward()
    assert all(weight.grad is not None for weight in made.model.parameters())
    still = [*made.reference.parameters(), *made.discriminator.parameters()]
    assert all(weight.grad is None for weight in still)


@pytest.mark.parametrize("discriminator", ["transformer", "windows"])
def test_a_prefix_has_the_score_of_what_is_read_so_far(discriminator):
    """What follows does not change it; a text has one score from its end on."""
    made = made_of(discriminator=discriminator).eval()
    changed(made.discriminator)
    tokens, lengths = real_texts(), lengths_of(real_texts())
    scores = made.discriminator(tokens, lengths)
    assert scores.shape == (5, 6)
    other = tokens.clone()
    other[1:, 4:] = other[1:, 4:] % 11 + 1
    found = made.discriminator(other, lengths)
    torch.testing.assert_close(found[:, :4], scores[:, :4])
    assert (found[1:, 5] != scores[1:, 5]).any()
    assert lengths[0] == 4
    assert scores[0, 4] == scores[0, 5]
    assert scores[0, 3] != scores[0, 4]  # the end is read, too


def test_windows_are_those_of_convolutions():
    """Scores of single windows by hand: the largest response of each filter in the text so far."""
    judge = made_of(discriminator="windows").eval().discriminator
    changed(judge)
    tokens = real_texts()[1:2]
    vectors = judge.embedding(tokens)[0]
    best, scores = None, []
    for place in range(6):
        responses = []
        for layer in judge.filters:
            width = layer.kernel_size[0]
            padded = F.pad(vectors[max(0, place - width + 1) : place + 1], (0, 0, max(0, width - 1 - place), 0))
            responses.append(F.relu((layer.weight * padded.T).sum((1, 2)) + layer.bias))
        here = torch.cat(responses)
        best = here if best is None else torch.maximum(best, here)
        scores.append(judge.score(best))
    torch.testing.assert_close(judge(tokens, torch.tensor([6]))[0], torch.cat(scores))


def test_a_discriminator_of_prefixes_learns_from_each_of_them():
    """The loss is the mean over all tokens after the prompt; that of whole texts has the last alone."""
    made = made_of(group=3, prompt=2, credit=0.5, discriminator="windows", discriminator_dropout=0.0)
    changed(made.discriminator)
    batch = batch_of(real_texts())
    _, begin, _ = made.phases(LOSS, {})
    terms = begin.turns[0].objective(batch)
    tokens, lengths = made._group(batch)
    real = made.discriminator(batch["tokens"], batch["length"])[:, None]
    wins = real - made.discriminator(tokens, lengths).view(5, 3, 6)
    torch.testing.assert_close(terms["loss"], F.softplus(-wins[:, :, 2:]).mean())
    assert terms["_accuracy"].item() == pytest.approx((wins[:, :, -1] > 0).float().mean().item())
    terms["loss"].backward()
    assert all(weight.grad is not None for weight in made.discriminator.parameters())


def test_rewards_are_the_changes_of_the_score_from_a_token_on():
    scores = torch.tensor([[1.0, 3.0, 2.0, 6.0]])
    assert credited(scores, 0, None).tolist() == [[6, 6, 6, 6]]
    assert credited(scores, 0, 0.0).tolist() == [[1, 2, -1, 4]]
    assert credited(scores, 0, 1.0).tolist() == [[6, 5, 3, 4]]
    assert credited(scores, 0, 0.5).tolist() == [[1 + 1 - 0.25 + 0.5, 2 - 0.5 + 1, -1 + 2, 4]]
    # the score of a prompt itself, 3, is not learned: the first token after it makes all of 2
    assert credited(scores, 2, 0.0)[:, 2:].tolist() == [[2, 4]]


def test_the_policy_gradient_has_the_reward_of_each_token():
    made = made_of(group=4, prompt=2, credit=0.5, divergence=0.0, discriminator="windows")
    changed(made.model)
    changed(made.discriminator)
    batch = batch_of(real_texts())
    terms = made.reinforce(batch)
    tokens, lengths = made._group(batch)
    made.eval()
    rewards = credited(made.discriminator(tokens, lengths).detach(), 2, 0.5).view(5, 4, 6)
    advantage = (rewards - rewards.mean(1, keepdim=True)).flatten(0, 1)
    logs = made.logits(tokens).log_softmax(2).gather(2, tokens[:, :, None])[:, :, 0]
    places = torch.arange(6)
    mask = (places <= lengths[:, None]) & (places >= 2)
    torch.testing.assert_close(terms["loss"], -(advantage * logs * mask).sum() / 20 / 4)


@pytest.mark.parametrize("discriminator", ["transformer", "windows"])
def test_candidates_are_drawn_by_the_exponential_of_their_scores(discriminator):
    made = made_of(discriminator=discriminator).eval()
    changed(made.model)
    changed(made.discriminator, 0.5)
    count = 300
    plain = made.generate(count, SeededDraws.of(7, 0, count, CPU), Request())
    same = made.generate(count, SeededDraws.of(7, 0, count, CPU), Request(options=GPTGad.Options(candidates=1)))
    assert torch.equal(same["tokens"], plain["tokens"])
    request = Request(options=GPTGad.Options(candidates=4))
    chosen = made.generate(count, SeededDraws.of(7, 0, count, CPU), request)
    draws = SeededDraws.of(7, 0, count, CPU)
    written = made.written(draws.rand(4, 6).flatten(0, 1), Request())
    scores = made.discriminator(written["tokens"], written["length"])[:, -1].view(count, 4)
    chances, drawn = scores.softmax(1), draws.rand(4)
    places = (chances / -drawn.log()).argmax(1)  # the exponential clock of each that rings first
    assert torch.equal(chosen["tokens"], written["tokens"].view(count, 4, 6)[range(count), places])
    assert torch.equal(chosen["length"], written["length"].view(count, 4)[range(count), places])
    picked = made.discriminator(chosen["tokens"], chosen["length"])[:, -1].mean()
    assert picked > scores.mean() + 0.1
    few = made.generate(3, SeededDraws.of(7, 0, 3, CPU), request)
    assert torch.equal(few["tokens"], chosen["tokens"][:3])


def test_candidates_without_ends_are_scored_up_to_their_last_token():
    """A shorter text of a corpus of running text is padded, and the padding is not read."""
    torch.manual_seed(0)
    fields = token_fields(6, 12, 6, lambda text: [int(c) for c in text])
    made = GPTGad(GPTGad.Config(layers=1, heads=2, width=32, discriminator="windows"), fields).eval()
    changed(made.discriminator, 0.5)
    request = Request(options=GPTGad.Options(candidates=4, max_length=3))
    chosen = made.generate(200, SeededDraws.of(7, 0, 200, CPU), request)
    draws = SeededDraws.of(7, 0, 200, CPU)
    written = made.written(draws.rand(4, 3).flatten(0, 1), request)
    scores = made.discriminator(written["tokens"], torch.full((800,), 6))[:, 2].view(200, 4)  # as far as the third
    places = (scores.softmax(1) / -draws.rand(4).log()).argmax(1)
    assert torch.equal(chosen["tokens"], written["tokens"].view(200, 4, 6)[range(200), places])


def test_candidates_are_as_long_as_the_texts_of_the_training():
    made = made_of()
    with pytest.raises(UsageError, match="--candidates: the discriminator reads 6 tokens"):
        made.generate(1, SeededDraws.of(7, 0, 1, CPU), Request(options=GPTGad.Options(candidates=2, max_length=9)))


def test_repeats_show_other_real_texts_beside_one_group():
    made = made_of(group=3, discriminator_repeats=2)
    changed(made.model)
    _, begin, both = made.phases(LOSS, {})
    assert [turn.repeats for turn in begin.turns + both.turns] == [2, 2, 1]
    batch = batch_of(real_texts())
    begin.turns[0].objective(batch)
    changed(made.discriminator)
    before = made.discriminator.score.weight.clone(), made.discriminator.trunk.wte.weight.clone()
    other = Batch({"tokens": real_texts().flip(1), "length": torch.full((5,), 6)}, batch.rng, 0, 0.0, batch.shared)
    begin.turns[0].objective(other)  # the first group's second update: nothing begins again
    assert torch.equal(before[0], made.discriminator.score.weight)
    assert torch.equal(before[1], made.discriminator.trunk.wte.weight)
    with pytest.raises(UsageError, match="set model.prompt=0"):
        made_of(prompt=2, discriminator_repeats=2)


@pytest.mark.parametrize("settings", [{}, {"credit": 0.9, "discriminator": "windows", "discriminator_dropout": 0.0}])
def test_micro_batches_add_up_to_the_batch(settings):
    """Advantages are of groups alone, so that two halves have the mean of the whole."""
    made = made_of(group=3, divergence=0.5, **settings)
    changed(made.model)
    made.reference.load_state_dict(made.model.state_dict())
    changed(made.model, 0.05)
    real = real_texts(6)

    def terms(start, count):
        fields = {"tokens": real[start : start + count], "length": lengths_of(real[start : start + count])}
        batch = Batch(fields, StepDraws(0, 6, start, count, CPU), 0, 0.0)
        return {**made.reinforce(batch), **made.compare(LOSS, batch)}

    whole, first, second = terms(0, 6), terms(0, 3), terms(3, 3)
    for name in ("loss", "divergence", "_accuracy"):
        torch.testing.assert_close(whole[name], (first[name] + second[name]) / 2)


def test_the_game_makes_more_texts_right():
    """Texts count upwards from a random token, modulo 11. After a short likelihood training three in five do; the game
    takes away a third of the errors at least, and every beginning still occurs."""
    made = made_of(group=8, divergence=0.1)
    numbers = torch.Generator().manual_seed(1)

    def texts(count):
        return (torch.randint(0, 11, (count, 1), generator=numbers) + torch.arange(6)) % 11 + 1

    def right():
        with torch.no_grad():
            tokens = made.eval().sample(SeededDraws.of(5, 0, 500, CPU).rand(6))
        made.train()
        good = ((tokens[:, 1:] - tokens[:, :-1]) % 11 == 1).all(1) & (tokens > 0).all(1)
        return float(good.float().mean()), len(set(tokens[good][:, 0].tolist()))

    def step(optimizer, objective, batch):
        optimizer.zero_grad()
        sum(v for k, v in objective(batch).items() if not k.startswith("_")).backward()
        optimizer.step()

    optimizer = torch.optim.Adam(made.model.parameters(), 3e-3)
    for number in range(60):
        step(optimizer, made.likelihood, batch_of(texts(64), seed=number))
    before, _ = right()
    optimizer = torch.optim.Adam(made.model.parameters(), 1e-3)
    judge = torch.optim.Adam(made.discriminator.parameters(), 2e-3, betas=(0.9, 0.99))
    _, begin, both = made.phases(LOSS, {})
    for number in range(500):
        batch = batch_of(texts(16), 16 * number, seed=number)
        phase = begin if number < 200 else both
        step(judge, phase.turns[0].objective, batch)
        if phase is both and number % 3 == 0:
            step(optimizer, phase.turns[1].objective, batch)
    after, beginnings = right()
    assert 0.5 < before < 0.7
    assert 1 - after < 0.67 * (1 - before)
    assert beginnings == 11
