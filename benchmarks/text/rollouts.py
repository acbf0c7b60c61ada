"""CPU time of SeqGAN's adversarial generator step, compared with a plain implementation, on one thread.

    python benchmarks/text/rollouts.py [--rounds 2] [--naive-prefixes 3] [--out FILE]

V=5000, T=20, 16 rollouts, batch 64, hidden 32, the paper's twelve-width discriminator. The plain implementation is like
published ones: the generator is called once for every token of every rollout with `torch.multinomial`, the
discriminator scores each rollout of 64 sequences with its convolutions. Its prefixes differ only in the number of
tokens to sample, so that `--naive-prefixes` of the 19 can be timed and a line fitted through them (0: time all).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from gan.draws import StepDraws
from gan.game import Batch
from gan.losses import NonSaturating
from gan.reporting.manifest import surroundings
from gan_text.architectures.seqgan import SeqGAN
from gan_text.data.fields import token_fields

WORDS, LENGTH, ROLLOUTS, BATCH = 5000, 20, 16, 64


def naive_sample(generator, count):
    tokens = torch.zeros(count, LENGTH, dtype=torch.int64)
    state, previous = generator.initial(count), torch.zeros(count, dtype=torch.int64)
    for t in range(LENGTH):
        previous, state = naive_token(generator, previous, state)
        tokens[:, t] = previous
    return tokens


def naive_token(generator, previous, state):
    gates = generator.embedding[previous] @ generator.input_weight + generator.gate_bias
    state = generator.advance(gates, state)
    probabilities = torch.softmax(state.hidden @ generator.output_weight + generator.output_bias, 1)
    return torch.multinomial(probabilities, 1)[:, 0], state


@torch.no_grad()
def naive_prefix(policy, discriminator, tokens, t):
    """Mean reward of one prefix length: every rollout feeds the prefix again, then samples the rest."""
    total = torch.zeros(len(tokens))
    for _ in range(ROLLOUTS):
        text = tokens.clone()
        state, previous = policy.initial(len(tokens)), torch.zeros(len(tokens), dtype=torch.int64)
        for s in range(LENGTH):
            if s < t:
                gates = policy.embedding[previous] @ policy.input_weight + policy.gate_bias
                state, previous = policy.advance(gates, state), tokens[:, s]
            else:
                previous, state = naive_token(policy, previous, state)
                text[:, s] = previous
        total += torch.sigmoid(discriminator(text))
    return total / ROLLOUTS


def naive_step(made, timed_prefixes):
    """(CPU seconds of a whole step, rewards or None)."""
    started = time.process_time()
    with torch.no_grad():
        tokens = naive_sample(made.generator, BATCH)
        last = torch.sigmoid(made.discriminator(tokens))
    fixed = time.process_time() - started
    prefixes = timed_prefixes or list(range(1, LENGTH))
    seconds, columns = {}, {}
    for t in prefixes:
        started = time.process_time()
        columns[t] = naive_prefix(made.rollout, made.discriminator, tokens, t)
        seconds[t] = time.process_time() - started
    if timed_prefixes:  # fit a line: a constant (the discriminator) and a cost per sampled token
        n = len(prefixes)
        mean_t = sum(prefixes) / n
        mean_s = sum(seconds.values()) / n
        slope = sum((t - mean_t) * (seconds[t] - mean_s) for t in prefixes) / sum((t - mean_t) ** 2 for t in prefixes)
        inner = sum(mean_s + slope * (t - mean_t) for t in range(1, LENGTH))
        rewards = torch.rand(BATCH, LENGTH)  # the update's cost does not depend on the values
    else:
        inner = sum(seconds.values())
        rewards = torch.stack([*columns.values(), last], 1)
    started = time.process_time()
    loss = (made.generator.nll(tokens) * (rewards - rewards.mean(0))).sum()
    torch.autograd.grad(loss, list(made.generator.parameters()))
    return fixed + inner + time.process_time() - started


def fast_step(made, number):
    started = time.process_time()
    rng = StepDraws(number, BATCH, 0, BATCH, torch.device("cpu"))
    terms = made.reinforce(NonSaturating(), Batch({}, rng, 64, 0.0))
    torch.autograd.grad(terms["loss"], list(made.generator.parameters()))
    return time.process_time() - started


def build(precision):
    torch.manual_seed(0)
    config = SeqGAN.Config(rollouts=ROLLOUTS, rollout_precision=precision, negatives=64)
    made = SeqGAN(config, token_fields(LENGTH, WORDS, LENGTH))
    with torch.no_grad():
        for parameter in made.generator.parameters():
            parameter *= 5  # a trained generator's distributions are far from uniform
        made.rollout.load_state_dict(made.generator.state_dict())
    return made


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--naive-prefixes", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    plain, half = build("fp32"), build("bf16")
    timed = None
    if options.naive_prefixes:
        step = (LENGTH - 2) / (options.naive_prefixes - 1)
        timed = [round(1 + k * step) for k in range(options.naive_prefixes)]
    fast_step(plain, 0), fast_step(half, 0)
    rounds = []
    for number in range(options.rounds):  # interleaved, so that other load affects all of them
        rounds.append(
            {
                "naive": naive_step(plain, timed),
                "fast fp32": fast_step(plain, number),
                "fast bf16": fast_step(half, number),
            }
        )
        print(rounds[-1], flush=True)
    result = {
        "cpu_seconds": {name: [round(r[name], 2) for r in rounds] for name in rounds[0]},
        "speed_up": {name: [round(r["naive"] / r[name], 1) for r in rounds] for name in rounds[0] if name != "naive"},
        "naive_prefixes_timed": timed or "all",
        "machine": surroundings(),
    }
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
