"""CPU seconds of RelGAN's updates, compared with a plain implementation.

    python benchmarks/text/relgan_round.py [--out relgan_round.json] [--repeats 5]

The plain implementation is a port of the published code to PyTorch: noise for all steps at once, all steps of texts
that have ended, real texts as one-hot rows, backpropagation through max pooling. The networks are those of `coco.py`;
texts have the lengths of the captions. Both are interleaved in one process.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from gan.draws import StepDraws
from gan.game import Batch
from gan.losses import RelativisticPairing
from gan.reporting.manifest import surroundings
from gan_text.architectures.relgan import Discriminator, RelGAN
from gan_text.data.fields import START, token_fields
from gan_text.networks.lstm import lengths_of, sequence_mask
from torch.nn import functional as F

WORDS, LENGTH, BATCH, MEAN = 5000, 24, 64, 11.4
CONFIG = RelGAN.Config(head_width=64, representations=16, filters=100)


class PlainDiscriminator(Discriminator):
    def forward(self, texts):
        rows = self.embedding(texts).transpose(1, 2).reshape(-1, 1, texts.shape[1])
        features = torch.cat([F.relu(convolution(rows).amax(2)) for convolution in self.convolutions], 1)
        moved = self.highway(features)
        carry = torch.sigmoid(moved)
        features = F.dropout(carry * F.relu(moved) + (1 - carry) * features, 1 - self.keep, self.training)
        return self.output(self.hidden(features)).view(len(texts), -1).mean(1)


class Plain(RelGAN):
    def __init__(self, config, fields):
        super().__init__(config, fields)
        self.discriminator = PlainDiscriminator(
            WORDS, config.representations, config.widths, config.filters, config.keep
        )

    def tokens(self, batch):
        return self.one_hot(batch)

    def fake(self, batch):
        uniforms = batch.rng.rand(LENGTH, WORDS)
        tokens = torch.full((BATCH,), START)
        memory, found = self.generator.memory.initial(BATCH), []
        for t in range(LENGTH):
            logits, memory = self.generator.step(tokens, memory)
            noisy = logits - torch.log(-torch.log(uniforms[:, t].clamp(1e-20, 1 - 1e-7)))
            tokens = noisy.detach().argmax(1)
            found.append(torch.softmax(noisy * 10.0, 1))
        relaxed = torch.stack(found, 1)
        alive = sequence_mask(lengths_of(relaxed.detach().argmax(2)), LENGTH)[..., None]
        return relaxed * alive + F.one_hot(torch.zeros(BATCH, LENGTH, dtype=torch.int64), WORDS).float() * (1 - alive)

    def likelihood(self, batch):
        nats, tokens = self.nll(batch.fields)
        return {"nll": nats.sum() / tokens.sum()}


def made(kind):
    """Build with a fixed seed; texts end with a probability that gives the captions' mean length."""
    torch.manual_seed(0)
    model = kind(CONFIG.model_copy(update={"first_sharpness": 10.0, "sharpness": 10.0}), token_fields(LENGTH, WORDS, 0))
    with torch.no_grad():
        model.generator.output.bias[0] = torch.logsumexp(model.generator.output.bias[1:], 0) - torch.tensor(MEAN).log()
    return model


def updates(model):
    """Name -> a function that computes the gradients of one update."""
    lengths = torch.randint(6, 18, (BATCH,), generator=torch.Generator().manual_seed(1))
    tokens = torch.randint(1, WORDS, (BATCH, LENGTH), generator=torch.Generator().manual_seed(2))
    fields = {"tokens": tokens * (torch.arange(LENGTH) < lengths[:, None]), "length": lengths}
    likelihood, game = model.phases(RelativisticPairing(), {})
    turns = {"likelihood": likelihood.turns[0], "discriminator": game.turns[0], "generator": game.turns[1]}

    def update(turn):
        parameters = list(getattr(model, turn.player).parameters())
        for parameter in parameters:
            parameter.grad = None
        batch = Batch(fields, StepDraws(3, BATCH, 0, BATCH, torch.device("cpu")), 0, 0.5)
        terms = turn.objective(batch)
        sum(value for name, value in terms.items() if not name.startswith("_")).backward(inputs=parameters)

    return {name: lambda turn=turn: update(turn) for name, turn in turns.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    implementations = {"plain": updates(made(Plain)), "ours": updates(made(RelGAN))}
    seconds = {kind: dict.fromkeys(functions, 0.0) for kind, functions in implementations.items()}
    for repeat in range(options.repeats + 1):
        for kind, functions in implementations.items():
            for name, function in functions.items():
                started = time.process_time()
                function()
                if repeat:  # the first round is a warm-up
                    seconds[kind][name] += (time.process_time() - started) / options.repeats
    for found in seconds.values():
        found["round of five discriminator updates"] = 5 * found["discriminator"] + found["generator"]
    result = {
        "cpu_seconds": {
            kind: {name: round(value, 3) for name, value in found.items()} for kind, found in seconds.items()
        },
        "speed_up": {name: round(seconds["plain"][name] / value, 2) for name, value in seconds["ours"].items()},
        "machine": surroundings(),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["cpu_seconds"]), json.dumps(result["speed_up"]))


if __name__ == "__main__":
    main()
