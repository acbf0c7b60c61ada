"""CPU time of SeqGAN's published recipe, extrapolated from short measurements of each part.

    python benchmarks/text/paper_cost.py WEIGHTS.npz [--out FILE]

Each part is timed as the trainer runs it (forward, loss, backward, Adam, clipping) on the recipe `seqgan-paper`, in CPU
seconds of one thread. 120 epochs of 10,000 sequences at batch 64 are 18,750 updates by maximum
likelihood; 1,500,000 real samples at 32 are 46,875 discriminator updates with 50 sets of 10,000 negatives; the
adversarial phase is 200 rounds of one generator update and 150,000 real samples, 4,688 discriminator updates with
five sets of negatives.
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
from gan_text.oracle import load_oracle, oracle_samples

UPDATES = {"mle": 18_750, "discriminator": 46_875, "round": 4_688}
SETS = {"discriminator": 50, "round": 5}
ROUNDS = 200


def per_call(work, times):
    """CPU seconds per call; the first call is not counted."""
    work()
    started = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - started) / times


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made = SeqGAN(SeqGAN.Config(baseline=False, sequences=2), token_fields(20, 5000, 20))
    real = torch.from_numpy(oracle_samples(load_oracle(options.weights), 64, 20, 1))
    loss, device = NonSaturating(), torch.device("cpu")
    optimizers = {
        name: torch.optim.Adam(player.modules.parameters(), lr=player.optimizer.lr, fused=True)
        for name, player in made.players().items()
    }
    phases = {phase.name: phase for phase in made.phases(loss, {})}

    def update(turn, count):
        batch = Batch({"tokens": real[:count]}, StepDraws(0, count, 0, count, device), 32, 0.0)

        def work():
            optimizers[turn.player].zero_grad()
            terms = turn.objective(batch)
            sum(value for name, value in terms.items() if not name.startswith("_")).backward()
            if turn.player == "generator":
                torch.nn.utils.clip_grad_norm_(made.generator.parameters(), 5.0)
            optimizers[turn.player].step()

        return work

    uniforms = torch.rand(10_000, 20)
    (likelihood,), (write, judge) = phases["mle"].turns, phases["adversarial"].turns
    seconds = {
        "maximum-likelihood update (64)": per_call(update(likelihood, 64), 20),
        "discriminator update (32 + 32)": per_call(update(judge, 32), 20),
        "10,000 negatives": per_call(lambda: made.generator.sample(uniforms), 2),
        "generator update (64, 16 rollouts)": per_call(update(write, 32), 1),
    }
    mle, classify, negatives, reinforce = seconds.values()
    phase_seconds = {
        "mle": UPDATES["mle"] * mle,
        "discriminator": UPDATES["discriminator"] * classify + SETS["discriminator"] * negatives,
        "adversarial": ROUNDS * (reinforce + UPDATES["round"] * classify + SETS["round"] * negatives),
    }
    hours = {name: round(value / 3600, 2) for name, value in phase_seconds.items()}
    result = {
        "cpu_seconds": {name: round(value, 4) for name, value in seconds.items()},
        "cpu_hours": hours | {"all": round(sum(phase_seconds.values()) / 3600, 1)},
        "machine": surroundings(),
    }
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
