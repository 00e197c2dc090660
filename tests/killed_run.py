"""A meta-training run that is killed again and again, beside one that is not. Started by training/test_trainer.py.

    python killed_run.py FOLDER KILLS SEED

The children are forks, so that only the first pays for the imports; each is a process of its own, and killed
by SIGKILL, which leaves it no chance to tidy up.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import tiny
import torch

from metastyle_hub.data.datasets import InMemoryDataset
from metastyle_hub.networks.feature_extractor import FeatureExtractor
from metastyle_hub.training.bilevel import MetaTrainingConfig
from metastyle_hub.training.trainer import MetaTrainer

CONFIG = MetaTrainingConfig(
    steps=24, inner_steps=2, styles=1, support_contents=1, query_contents=1, size=16, warmup_steps=4, identity_steps=3,
    ema_decay=0.9, network=tiny.NETWORK,
)  # fmt: skip


def trainer(
    checkpoint: Path, config: MetaTrainingConfig = CONFIG, features: FeatureExtractor | None = None
) -> MetaTrainer:
    contents = InMemoryDataset([tiny.tensor(tiny.content(seed=i))[0] for i in range(5)])
    styles = InMemoryDataset([tiny.tensor(tiny.style(seed=i))[0] for i in range(4)])
    features = features or tiny.features()
    return MetaTrainer(config, features, contents, styles, checkpoint=checkpoint, checkpoint_every=2)


def fork_run(checkpoint: Path, until: int = CONFIG.steps) -> tuple[int, int]:
    """A child that trains; its process id, and a pipe that gets a line at the start and after each step.

    At step `until`, if that is not the end, it waits to be killed: on a busy machine the kill may come late.
    """
    reader, writer = os.pipe()
    if pid := os.fork():
        os.close(writer)
        return pid, reader
    try:
        run = trainer(checkpoint)
        os.write(writer, f"{run.step}\n".encode())
        for step in run.run():
            os.write(writer, f"{step.index}\n".encode())
            if until <= step.index < CONFIG.steps:
                signal.pause()
        os._exit(0)
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
        os._exit(1)


def main(folder: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    straight, broken = folder / "straight" / "checkpoint.pt", folder / "broken" / "checkpoint.pt"

    pid, reader = fork_run(straight)
    with os.fdopen(reader) as lines:
        times = [time.perf_counter() for _ in lines]  # for the delays of the kills
    assert os.waitpid(pid, 0)[1] == 0
    per_step = float(np.median(np.diff(times)))

    starts, whole = [], 0
    for _ in range(kills):
        pid, reader = fork_run(broken, until=CONFIG.steps - 2)
        with os.fdopen(reader) as lines:
            starts.append(int(lines.readline()))
            for _ in range(min(int(rng.integers(1, 4)), CONFIG.steps - 2 - starts[-1])):
                lines.readline()
            time.sleep(rng.uniform(0, 2 * per_step))
            os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
        if broken.exists():
            torch.load(broken, weights_only=True)  # whole, whenever the kill came
            whole += 1
    pid, reader = fork_run(broken)
    with os.fdopen(reader) as lines:
        starts.append(int(lines.readline()))
        steps = [int(line) for line in lines]
    assert os.waitpid(pid, 0)[1] == 0
    sys.stdout.write(json.dumps({"starts": starts, "whole": whole, "last": steps[-1]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
