"""The turns of the two-player game between a generator and a discriminator, and terms added to any turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gan.contracts import AdaptiveAugmentation, Critic, Loss, Penalty, ScorePenalty
from gan.contracts.guards import NOISE, SMOOTHED, SMOOTHING
from gan.draws import Draws
from gan.errors import GanError
from gan.game import Batch, Learn, Objective, Turn
from gan.losses import per_sample


@dataclass(frozen=True)
class CriticOutput:
    """What a critic may return instead of scores: its scores with the features on the way to them."""

    scores: Tensor | Sequence[Tensor]
    """Raw scores ``(N, …)``, or a sequence of them: one for each head."""
    features: Sequence[Tensor] = ()
    """Inner activations for terms such as feature matching, in an order that is the same in every call."""
    weights: Sequence[float] = ()
    """Factor of each head in the losses; empty: 1."""


SATURATED = -6.9
"""σ of this score is 0.001."""

CriticResult = Tensor | Sequence[Tensor] | CriticOutput
Term = Callable[["Scored"], Tensor]
"""A scalar that is added to a player's loss; its weight is part of it."""


class _Judge:
    """The critic in one update: everything but the samples is bound."""

    def __init__(self, turns: _Turns, batch: Batch) -> None:
        self._turns = turns
        self._batch = batch
        self._conditions: dict[Callable[[Batch], Tensor], Tensor] = {}

    def of(self, kind: str) -> Callable[[Tensor], CriticResult]:
        """The critic of ``real`` or ``fake`` samples."""
        turns, arguments = self._turns, list[Any]()
        conditions = turns.conditions if kind == "real" else turns.fake_conditions or turns.conditions
        if conditions is not None:
            if conditions not in self._conditions:
                self._conditions[conditions] = conditions(self._batch)
            arguments.append(self._conditions[conditions])
        if turns.with_batch:
            arguments.append(self._batch)
        if not self._batch.augmentations and NOISE not in self._batch.dials:
            return lambda samples: turns.critic(samples, *arguments)
        return lambda samples: turns.critic(augmented(self._batch, samples), *arguments)

    def for_penalty(self, penalty: Penalty) -> Critic:
        """The critic as a penalty sees it: one tensor of scores, summed over the heads."""
        return self.total(getattr(penalty, "at", "real"))

    def total(self, kind: str) -> Critic:
        """One tensor of scores of ``real`` or ``fake`` samples, summed over the heads."""
        judge = self.of(kind)

        def score(samples: Tensor) -> Tensor:
            scores, _, _ = _parts(judge(samples))
            return scores[0] if len(scores) == 1 else torch.stack([per_sample(s.float()) for s in scores]).sum(0)

        return score


class Scored:
    """The samples of one update and what the critic says of them, for the `terms` of `adversarial_turns`.

    In the discriminator's update the fakes are detached and both outputs have gradients. In the generator's update the
    fakes have gradients, and the real samples are scored without gradients when a term or the loss first asks.
    """

    def __init__(
        self, batch: Batch, turns: _Turns, real: Tensor | None, fake: Tensor, *, real_has_gradients: bool
    ) -> None:
        self.batch = batch
        self.fake = fake
        """Generated samples as the critic receives them, ``(N, *shape)``."""
        self._turns = turns
        self._judge = _Judge(turns, batch)
        self._real = real
        self._real_has_gradients = real_has_gradients

    @cached_property
    def real(self) -> Tensor:
        """Real samples as the critic receives them, ``(N, *shape)``."""
        return self._turns.real(self.batch) if self._real is None else self._real

    @cached_property
    def _of_real(self) -> _Judged:
        with torch.set_grad_enabled(self._real_has_gradients):
            return _parts(self._judge.of("real")(self.real))

    @cached_property
    def _of_fake(self) -> _Judged:
        return _parts(self._judge.of("fake")(self.fake))

    def critic_for(self, penalty: Penalty) -> Critic:
        """The critic that `penalty` is computed with."""
        return self._judge.for_penalty(penalty)

    @property
    def real_scores(self) -> tuple[Tensor, ...]:
        """Raw scores of real samples, ``(N, …)`` for each head."""
        return self._of_real[0]

    @property
    def fake_scores(self) -> tuple[Tensor, ...]:
        """Raw scores of generated samples, ``(N, …)`` for each head."""
        return self._of_fake[0]

    @property
    def real_features(self) -> Sequence[Tensor]:
        """`CriticOutput.features` of real samples."""
        return self._of_real[1]

    @property
    def fake_features(self) -> Sequence[Tensor]:
        """`CriticOutput.features` of generated samples."""
        return self._of_fake[1]

    @property
    def weights(self) -> Sequence[float]:
        """`CriticOutput.weights`."""
        return self._of_fake[2]


def adversarial_turns(
    loss: Loss,
    penalties: Mapping[str, Penalty],
    *,
    real: Callable[[Batch], Tensor],
    fake: Callable[[Batch], Tensor],
    critic: Callable[..., CriticResult],
    conditions: Callable[[Batch], Tensor] | None = None,
    fake_conditions: Callable[[Batch], Tensor] | None = None,
    with_batch: bool = False,
    critic_repeats: int = 1,
    fresh_fakes: bool = False,
    terms: Mapping[str, Mapping[str, Term]] | None = None,
    generator: str = "generator",
    discriminator: str = "discriminator",
    after_critic: Callable[[Batch], None] | None = None,
) -> list[Turn]:
    """The turns of the two-player game: the critic's update, its lazy penalties and the generator's update.

    `real(batch)` and `fake(batch)` return samples as the critic receives them. Scores are ``critic(samples)`` or, with
    `conditions`, ``critic(samples, conditions(batch))``. `fake_conditions`, called after `fake`, are those of generated
    samples if they differ. `with_batch` adds the batch as the last argument, for critics that draw random numbers from
    ``batch.rng``. A critic of several heads returns a sequence of scores, and the loss is summed over the heads; with
    `CriticOutput` it also returns features and weights of the heads.

    With ``critic_repeats=1`` both players use the same fakes, so that the generator runs once per iteration, as in
    DCGAN. With more repeats, or with `fresh_fakes`, every update draws new ones, as in StyleGAN2.

    `terms` maps players to further terms of their loss by name, for example
    ``{"generator": {"feature_matching": term}}`` with a `Term` ``(scored) -> scalar``.
    """
    extra = {} if terms is None else terms
    unknown = extra.keys() - {generator, discriminator}
    if unknown:
        raise GanError(f"adversarial_turns: terms of '{min(unknown)}'; the players are {generator} and {discriminator}")
    turns = _Turns(loss, penalties, real, fake, critic, conditions, fake_conditions, with_batch)
    turns.shares = critic_repeats == 1 and not fresh_fakes
    turns.critic_terms = extra.get(discriminator, {})
    turns.generator_terms = extra.get(generator, {})
    lazy = {name: penalty for name, penalty in penalties.items() if penalty.every > 1}
    return [
        Turn(discriminator, turns.update_critic, repeats=critic_repeats, after=after_critic, smoothed=True),
        *(Turn(discriminator, turns.regularize(n, p), every=p.every) for n, p in lazy.items()),
        Turn(generator, turns.update_generator),
    ]


def augmented(batch: Batch, samples: Tensor) -> Tensor:
    """`samples` as critics receive them, changed by the recipe's augmentations and by noise; as they are without both.

    `adversarial_turns` does this for every critic. For objectives that do not use it.
    """
    for name, augmentation in batch.augmentations.items():
        strength = batch.number(f"augmentations.{name}.strength", augmentation.strength)
        if not isinstance(strength, Tensor):
            strength = torch.full((), float(strength), device=samples.device)  # no copy from the host
        samples = augmentation(samples, batch.rng, strength)
    if NOISE in batch.dials and samples.is_floating_point():
        sets = -(-len(samples) // batch.count)  # a critic may see real and generated samples in one tensor
        rows = batch.rng.randn(sets, *samples.shape[1:]).flatten(0, 1)[: len(samples)]
        samples = samples + batch.dials[NOISE] * rows.to(samples.dtype)
    return samples


def observe_scores(batch: Batch, real_scores: Tensor | Sequence[Tensor]) -> None:
    """Let adaptive augmentations observe the critic's scores of augmented real samples, ``(N, …)`` for each head.

    `adversarial_turns` does this in every update of the critic. For objectives that do not use it.
    """
    adaptive = {n: a for n, a in batch.augmentations.items() if isinstance(a, AdaptiveAugmentation)}
    if not adaptive:
        return
    heads = [real_scores] if isinstance(real_scores, Tensor) else real_scores
    with torch.no_grad():
        scores = torch.stack([per_sample(head.detach().float()) for head in heads]).mean(0)
        for name, augmentation in adaptive.items():
            for what, value in augmentation.observe(scores).items():
                batch.observe(f"augmentations.{name}.{what}", value)


def penalized(batch: Batch, name: str, penalty: Penalty, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
    """The mean of a penalty over a batch, times its weight, as a term of the critic's loss; `name` is its name in the
    recipe. `real` and `fake` are samples as critics receive them, detached.

    `adversarial_turns` does this for every penalty. For objectives that do not use it.
    """
    if isinstance(penalty, ScorePenalty):
        return penalized_scores(batch, name, penalty, (critic(real),), (critic(fake),))
    weight = batch.number(f"penalties.{name}.weight", penalty.weight)
    value: Tensor = weight * penalty(critic, real, fake, batch.rng).mean()
    return value


def penalized_scores(
    batch: Batch, name: str, penalty: Any, real_scores: Sequence[Tensor], fake_scores: Sequence[Tensor]
) -> Tensor:
    """`penalized` for a `ScorePenalty` and scores that are known already, ``(N, …)`` for each head."""
    real, fake = (
        torch.stack([per_sample(head.float()) for head in heads]).mean(0) for heads in (real_scores, fake_scores)
    )
    for what, value in penalty.observe(real.detach(), fake.detach()).items():
        batch.observe(f"penalties.{name}.{what}", value)
    weighted: Tensor = batch.number(f"penalties.{name}.weight", penalty.weight) * penalty.of_scores(real, fake).mean()
    return weighted


def loss_at(loss: Loss, batch: Batch) -> Loss:
    """`loss` at the position of `batch`, where it has numbers that change during the training."""
    at: Callable[[int], Loss] | None = getattr(loss, "at", None)
    return loss if at is None else at(batch.position)


def probe_scores(
    batch: Batch,
    real_scores: Tensor | Sequence[Tensor],
    fake_scores: Tensor | Sequence[Tensor],
    real: Tensor | None = None,
) -> None:
    """Report the signals of a critic's scores to the watch, where they are wanted (`Batch.probe`).

    ``accuracy`` is P(D(x) > D(G)), whatever the loss takes for its threshold; ``sign`` is E sign D(x) (Karras et al.
    2020), ``saturation`` the share of generated samples with σ(D(G)) < 0.001, and ``level`` and ``power`` the mean and
    the mean square of the real samples as the critic receives them. `adversarial_turns` does this in every update of
    the critic. For objectives that do not use it.
    """
    if batch.probe is None:
        return
    with torch.no_grad():
        real_head, fake_head = (
            torch.cat(
                [head.detach().float().flatten() for head in ([scores] if isinstance(scores, Tensor) else scores)]
            )
            for scores in (real_scores, fake_scores)
        )
        pairs = min(len(real_head), len(fake_head))
        batch.probe("accuracy", (real_head[:pairs] > fake_head[:pairs]).float().mean())
        batch.probe("sign", real_head.sign().mean())
        batch.probe("saturation", (fake_head < SATURATED).float().mean())
        if real is not None and real.is_floating_point():
            seen = real.detach().float()
            batch.probe("level", seen.mean())
            batch.probe("power", seen.square().mean())


def _probe_gradient(batch: Batch, fake: Tensor) -> None:
    """Report ``output_gradient``, E‖∂L/∂x‖ at generated samples, in the backward pass."""
    probe = batch.probe
    if probe is not None and fake.requires_grad:
        fake.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: probe("output_gradient", batch.rng.total * gradient.float().flatten(1).norm(dim=1).mean())
        )


def plus(turn: Turn, objective: Objective, *, learn: Learn | None = None) -> Turn:
    """`turn` with the terms of `objective` added to its own, and with `learn` after its own `Turn.learn`.

    Both objectives receive the same batch. Raises `GanError` in training if they name a term alike.
    """

    def both(batch: Batch) -> dict[str, Tensor]:
        first, second = turn.objective(batch), objective(batch)
        clash = first.keys() & second.keys()
        if clash:
            raise GanError(f"both objectives of a turn of '{turn.player}' have a term '{min(clash)}'")
        return {**first, **second}

    own = turn.learn

    def learn_both(observed: Mapping[str, Tensor], rng: Draws) -> None:
        if own is not None:
            own(observed, rng)
        if learn is not None:
            learn(observed, rng)

    return replace(turn, objective=both, learn=own if learn is None else learn_both)


@dataclass
class _Turns:
    """The objectives of `adversarial_turns`."""

    loss: Loss
    penalties: Mapping[str, Penalty]
    real: Callable[[Batch], Tensor]
    fake: Callable[[Batch], Tensor]
    critic: Callable[..., CriticResult]
    conditions: Callable[[Batch], Tensor] | None
    fake_conditions: Callable[[Batch], Tensor] | None
    with_batch: bool
    shares: bool = True
    critic_terms: Mapping[str, Term] = field(default_factory=dict)
    generator_terms: Mapping[str, Term] = field(default_factory=dict)

    def fakes_for_critic(self, batch: Batch) -> Tensor:
        """Detached fakes; those that the generator's update of this iteration will use, if both share them."""
        if not self.shares:
            with torch.no_grad():
                return self.fake(batch)
        if "fake" not in batch.shared:
            batch.shared["fake"] = self.fake(batch)
        shared: Tensor = batch.shared["fake"]
        return shared.detach()

    def _smoothing(self, batch: Batch, real: Tensor) -> Tensor:
        """The penalty of the dial `SMOOTHING`, in float32: differences are small."""
        score = _Judge(self, batch).total("real")
        with torch.autocast(real.device.type, enabled=False):
            seen = real.detach().float()
            near = seen + batch.dials[SMOOTHING] * batch.rng.randn(*seen.shape[1:])
            after, before = (per_sample(score(samples).float()) for samples in (near, seen))
            return SMOOTHED * (after - before).square().mean()

    def update_critic(self, batch: Batch) -> dict[str, Tensor]:
        """The objective of the critic."""
        real_samples, fake_samples = self.real(batch), self.fakes_for_critic(batch)
        scored = Scored(batch, self, real_samples, fake_samples, real_has_gradients=True)
        real_scores, fake_scores = scored.real_scores, scored.fake_scores
        observe_scores(batch, real_scores)
        terms = {"loss": _summed(self.loss.discriminator, real_scores, fake_scores, scored.weights)}
        for name, penalty in self.penalties.items():
            if penalty.every == 1 and isinstance(penalty, ScorePenalty):
                terms[name] = penalized_scores(batch, name, penalty, real_scores, fake_scores)
            elif penalty.every == 1:
                terms[name] = penalized(batch, name, penalty, scored.critic_for(penalty), real_samples, fake_samples)
        if batch.dials.get(SMOOTHING) and real_samples.is_floating_point():
            terms["smoothing"] = self._smoothing(batch, real_samples)
        _add(terms, self.critic_terms, scored)
        terms["_real_score"] = _mean(real_scores)
        terms["_fake_score"] = _mean(fake_scores)
        for name, augmentation in batch.augmentations.items():
            if isinstance(augmentation.strength, Tensor):  # adaptive
                terms[f"_{name}_strength"] = augmentation.strength.detach().clone()
        probe_scores(batch, real_scores, fake_scores, real_samples)
        return terms

    def regularize(self, name: str, penalty: Penalty) -> Objective:
        """The objective of a lazy penalty."""

        def objective(batch: Batch) -> dict[str, Tensor]:
            real_samples = self.real(batch)
            needs_fake = self.shares or getattr(penalty, "needs_fake", True)
            fake_samples = self.fakes_for_critic(batch) if needs_fake else real_samples
            critic = _Judge(self, batch).for_penalty(penalty)
            return {name: penalized(batch, name, penalty, critic, real_samples, fake_samples)}

        return objective

    def update_generator(self, batch: Batch) -> dict[str, Tensor]:
        """The objective of the generator."""
        fake_samples = batch.shared.pop("fake", None) if self.shares else None
        if fake_samples is None:  # the critic's turn may be left out (`Trainer.turn_dial`)
            fake_samples = self.fake(batch)
        _probe_gradient(batch, fake_samples)
        scored = Scored(batch, self, None, fake_samples, real_has_gradients=False)
        fake_scores = scored.fake_scores
        loss = loss_at(self.loss, batch)
        real_scores = scored.real_scores if loss.needs_real else tuple(scores.detach() for scores in fake_scores)
        terms = {"loss": _summed(loss.generator, real_scores, fake_scores, scored.weights)}
        _add(terms, self.generator_terms, scored)
        return terms


_Judged = tuple[tuple[Tensor, ...], Sequence[Tensor], Sequence[float]]
"""Scores of each head, features, weights of the heads."""


def _parts(result: CriticResult) -> _Judged:
    """What a critic returned, by its parts."""
    output = result if isinstance(result, CriticOutput) else CriticOutput(result)
    scores = (output.scores,) if isinstance(output.scores, Tensor) else tuple(output.scores)
    if not scores:
        raise GanError("the critic returned no scores")
    if output.weights and len(output.weights) != len(scores):
        raise GanError(f"the critic returned scores of {len(scores)} heads and {len(output.weights)} weights")
    return scores, output.features, output.weights


def _summed(
    loss: Callable[[Tensor, Tensor], Tensor],
    real_scores: Sequence[Tensor],
    fake_scores: Sequence[Tensor],
    weights: Sequence[float] = (),
) -> Tensor:
    heads = [loss(real, fake).mean() for real, fake in zip(real_scores, fake_scores, strict=True)]
    if weights:
        heads = [weight * head for weight, head in zip(weights, heads, strict=True)]
    return heads[0] if len(heads) == 1 else torch.stack(heads).sum()


def _mean(scores: Sequence[Tensor]) -> Tensor:
    means = [head.detach().mean() for head in scores]
    return means[0] if len(means) == 1 else torch.stack(means).mean()


def _add(terms: dict[str, Tensor], extra: Mapping[str, Term], scored: Scored) -> None:
    for name, term in dict(extra).items():
        if name in terms:
            raise GanError(f"adversarial_turns: a term is called '{name}', as the loss or a penalty is")
        terms[name] = term(scored)
