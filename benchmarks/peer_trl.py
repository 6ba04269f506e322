"""The other side of a case: TRL's `DistillationTrainer`, one step per command.

    python -m benchmarks.peer_trl FOLDER CASE

TRL writes one answer per prompt, so a prompt is repeated G times, as its users must.
"""

import json
import sys
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import TrainerCallback
from trl import DistillationConfig, DistillationTrainer

from benchmarks.cases import Case
from benchmarks.meter import Meter, reserved_output
from benchmarks.ours import ENDLESS, LEARNING_RATE
from gndpo.models.load import load_model, load_processor


class Timed(DistillationTrainer):
    """Its rollout and the teacher's forward, timed; what is left of a step is the update."""

    def __init__(self, *args: Any, meter: Meter, **more: Any) -> None:
        super().__init__(*args, **more)
        self.meter = meter

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        with self.meter.lap("rollout"):
            return super()._generate_and_score_completions(inputs)

    def _get_last_hidden_state(self, model: Any, *args: Any, **more: Any) -> Any:
        if model is not self.teacher_model:
            return super()._get_last_hidden_state(model, *args, **more)
        with self.meter.lap("score"):
            return super()._get_last_hidden_state(model, *args, **more)


class Steps(TrainerCallback):
    """Waits for a command before every step, and says what the step took."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_train_begin(self, *args: Any, **more: Any) -> None:
        self.meter.ready()

    def on_step_end(self, *args: Any, **more: Any) -> None:
        self.meter.done()
        self.meter.wait()


def prompts(case: Case, folder: Path) -> datasets.Dataset:
    """The same rows in the same order, each G times."""
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    columns = {
        "prompt": [[{"role": "user", "content": row["problem"]}] for row in rows],
        "images": [[str(folder / name) for name in row["images"]] for row in rows],
    }
    table = datasets.Dataset.from_dict(columns)
    table = table.cast_column("images", datasets.List(datasets.Image()))
    return table.select([i for i in range(len(rows)) for _ in range(case.group)])


def arguments(case: Case, folder: Path, steps: int, **more: Any) -> DistillationConfig:
    """Reverse KL at temperature 1 and AdamW, with our values, in float32 on the CPU unless `more`
    says otherwise."""
    values: dict[str, Any] = {
        "output_dir": str(folder / "trl"),
        "max_steps": steps,
        "per_device_train_batch_size": case.answers,
        "max_completion_length": case.answer,
        "generation_kwargs": {"min_new_tokens": case.answer},
        "beta": 1.0,
        "temperature": 1.0,
        "shuffle_dataset": False,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    return DistillationConfig(**values | more)


def make_trainer(
    case: Case,
    folder: Path,
    meter: Meter,
    steps: int,
    dtype: torch.dtype = torch.float32,
    **more: Any,
) -> Timed:
    """dtype: of the teacher; the student's weights stay in float32. more: of the arguments."""
    processor = load_processor(folder / "student").own
    processor.tokenizer.padding_side = "left"
    return Timed(
        meter=meter,
        model=load_model(folder / "student"),
        teacher_model=load_model(folder / "teacher", dtype),
        args=arguments(case, folder, steps, **more),
        train_dataset=prompts(case, folder),
        processing_class=processor,
    )


def main(folder: str, case: str) -> None:
    meter = Meter(reserved_output())
    trainer = make_trainer(Case(**json.loads(case)), Path(folder), meter, ENDLESS)
    trainer.add_callback(Steps(meter))
    trainer.train()


if __name__ == "__main__":
    main(*sys.argv[1:])
