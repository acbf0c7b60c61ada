"""The turns of the two-player game between a generator and a discriminator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gan.contracts import Critic, Loss, Penalty
from gan.game import Batch, Objective, Turn


def adversarial_turns(
    loss: Loss,
    penalties: Mapping[str, Penalty],
    *,
    real: Callable[[Batch], Tensor],
    fake: Callable[[Batch], Tensor],
    critic: Callable[..., Tensor],
    conditions: Callable[[Batch], Tensor] | None = None,
    critic_repeats: int = 1,
    generator: str = "generator",
    discriminator: str = "discriminator",
    after_critic: Callable[[Batch], None] | None = None,
) -> list[Turn]:
    """The turns of the two-player game: the critic's update, its lazy penalties and the generator's update.

    `real(batch)` and `fake(batch)` return samples as the critic receives them. Scores are ``critic(samples)`` or, with
    `conditions`, ``critic(samples, conditions(batch))`` for real and fake samples. With ``critic_repeats=1`` both
    players use the same fakes, so that the generator runs once per iteration, as in DCGAN.
    """
    eager = {name: penalty for name, penalty in penalties.items() if penalty.every == 1}
    lazy = {name: penalty for name, penalty in penalties.items() if penalty.every > 1}
    shares = critic_repeats == 1

    def scorer(batch: Batch) -> Critic:
        if conditions is None:
            return critic
        values = conditions(batch)
        return lambda samples: critic(samples, values)

    def fakes_for_critic(batch: Batch) -> Tensor:
        if not shares:
            with torch.no_grad():
                return fake(batch)
        if "fake" not in batch.shared:
            batch.shared["fake"] = fake(batch)
        shared: Tensor = batch.shared["fake"]
        return shared.detach()

    def update_critic(batch: Batch) -> dict[str, Tensor]:
        real_samples, fake_samples = real(batch), fakes_for_critic(batch)
        score = scorer(batch)
        real_scores, fake_scores = score(real_samples), score(fake_samples)
        terms = {"loss": loss.discriminator(real_scores, fake_scores).mean()}
        for name, penalty in eager.items():
            terms[name] = penalty.weight * penalty(score, real_samples, fake_samples, batch.rng).mean()
        terms["_real_score"] = real_scores.detach().mean()
        terms["_fake_score"] = fake_scores.detach().mean()
        return terms

    def lazy_objective(name: str, penalty: Penalty) -> Objective:
        def regularize(batch: Batch) -> dict[str, Tensor]:
            value = penalty(scorer(batch), real(batch), fakes_for_critic(batch), batch.rng)
            return {name: penalty.weight * value.mean()}

        return regularize

    def update_generator(batch: Batch) -> dict[str, Tensor]:
        fake_samples = batch.shared.pop("fake") if shares else fake(batch)
        score = scorer(batch)
        fake_scores = score(fake_samples)
        if loss.needs_real:
            with torch.no_grad():
                real_scores = score(real(batch))
        else:
            real_scores = fake_scores.detach()
        return {"loss": loss.generator(real_scores, fake_scores).mean()}

    return [
        Turn(discriminator, update_critic, repeats=critic_repeats, after=after_critic),
        *(Turn(discriminator, lazy_objective(n, p), every=p.every) for n, p in lazy.items()),
        Turn(generator, update_generator),
    ]
