"""Two gloo processes and one that does the work of both. Started by test_processes.py.

    python two_processes.py FOLDER PORT

The processes are forks, so that only the first pays for the imports. Only the first one has a checkpoint to resume
from, as on machines whose disks are their own.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import tiny
import torch

from metastyle_hub.data.datasets import InMemoryDataset
from metastyle_hub.networks.param_groups import Parameters
from metastyle_hub.training.bilevel import MetaTrainingConfig
from metastyle_hub.training.trainer import MetaTrainer


def train(checkpoint: Path, styles: int, steps: int, run: bool = True) -> MetaTrainer:
    config = MetaTrainingConfig(
        steps=steps, inner_steps=1, styles=styles, support_contents=1, query_contents=1, size=16, warmup_steps=2,
        identity_steps=0, network=tiny.NETWORK,
    )  # fmt: skip
    images = [tiny.tensor(tiny.content(seed=i))[0] for i in range(5)]
    data = InMemoryDataset(images), InMemoryDataset([tiny.tensor(tiny.style(seed=i))[0] for i in range(4)])
    trainer = MetaTrainer(config, tiny.features(), *data, checkpoint=checkpoint)
    start = trainer.step
    for _ in trainer.run() if run else ():
        pass
    trainer.start = start  # type: ignore[attr-defined]
    return trainer


def distance(first: Parameters, second: Parameters) -> float:
    """The Euclidean distance of two sets of parameters.

    Without biases before an instance norm: their gradient is rounding alone, which Adam turns into whole steps.
    """
    names = [name for name in first if not name.endswith(".conv.bias")]
    return float(sum((first[name].detach() - second[name].detach()).square().sum() for name in names).sqrt())


def main(folder: Path, port: str) -> None:
    torch.set_num_threads(1)
    pids = []
    for rank in range(2):
        if (pid := os.fork()) == 0:
            os.environ |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port, "ACCELERATE_USE_CPU": "1",
            }  # fmt: skip
            status = 1
            try:
                for steps in (2, 4):  # the second time resumed, with a checkpoint on the first process alone
                    trainer = train(folder / f"disk{rank}" / "checkpoint.pt", 1, steps)
                torch.save({"theta": trainer.ema | trainer.theta, "start": trainer.start}, folder / f"{rank}.pt")
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    # the schedule of the learning rate depends on the number of steps, so this one resumes as well
    alone = [train(folder / "alone" / "checkpoint.pt", 2, steps) for steps in (2, 4)][-1].theta
    found = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    start = train(folder / "start" / "checkpoint.pt", 2, 4, run=False).theta
    moved = distance(alone, start)
    differences = [distance(alone, f["theta"]) / moved for f in found]
    disks = [(folder / f"disk{rank}" / "checkpoint.pt").exists() for rank in range(2)]
    sys.stdout.write(
        json.dumps({"statuses": statuses, "starts": [f["start"] for f in found], "differences": differences,
                    "disks": disks})
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
