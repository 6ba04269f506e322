"""Started as several ranks: two steps of every strategy named on the command line. The first rank
saves metrics, signals and weights.

python -m torch.distributed.run ... tests/dist/step.py OUT TRAINER STRATEGY... -- OVERRIDE...
"""

import sys
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from gndpo import ranks
from gndpo.build import config_folder, resolve
from gndpo.gradients import full
from gndpo.module import Distillation
from gndpo.quiet import quiet
from gndpo.runfolder import RunFolder
from gndpo.train import train


def recorded(seen: dict[str, list[Any]]) -> None:
    """Every step leaves its advantages, in row order, its metrics and the weights after it."""
    step = Distillation.training_step
    score = Distillation.score

    def scored(self: Distillation, *given: Any) -> Any:
        scores = score(self, *given)
        advantage_BT = self.strategy(scores).advantage_BT
        seen["advantages"].append(scores.pool(advantage_BT))
        return scores

    def stepped(self: Distillation, *given: Any) -> Any:
        outputs = step(self, *given)
        seen["metrics"].append(outputs["metrics"])
        named = self.student.model.named_parameters()
        seen["weights"].append({name: full(p.detach()).clone() for name, p in named})
        return outputs

    Distillation.score = scored  # type: ignore[method-assign]
    Distillation.training_step = stepped  # type: ignore[method-assign]


def main(out: Path, trainer: str, strategies: list[str], overrides: list[str]) -> None:
    quiet()
    torch.set_num_threads(1)
    if trainer != "cpu":
        ranks.join()
    more = ["trainer.accelerator=cpu", f"trainer.devices={ranks.size()}"] * (trainer != "cpu")
    seen: dict[str, list[Any]] = {}
    recorded(seen)
    found: dict[str, dict[str, list[dict[str, float] | dict[str, Tensor] | Tensor]]] = {}
    for strategy in strategies:
        seen |= {"advantages": [], "metrics": [], "weights": []}
        with initialize_config_dir(config_folder(), version_base="1.3"):
            named = [f"advantage={strategy}", f"trainer={trainer}"]
            cfg = compose("train", [*named, *more, *overrides])
        resolve(cfg)
        folder = RunFolder(out.parent / f"{out.stem}-{strategy.replace('/', '-')}")
        folder.path.mkdir(exist_ok=True)
        folder.write_status(status="running", strategy=strategy)
        train(cfg, folder)
        found[strategy] = dict(seen)
    if ranks.rank() == 0:
        torch.save(found, out)


if __name__ == "__main__":
    cut = sys.argv.index("--")
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:cut], sys.argv[cut + 1 :])
