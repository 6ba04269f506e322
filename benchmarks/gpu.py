"""A step at true size: rollout against the bandwidth floor, update against the best matrix product,
peak memory; beside `generate` of transformers and, where it is installed, TRL.

    python experiments/memory/random_pair.py InternVL3.5-1B InternVL3.5-8B --to /tmp/pair
    python -m benchmarks.gpu /tmp/pair/InternVL3.5-1B /tmp/pair/InternVL3.5-8B --out runs/gpu \\
        model.checkpointing=true updates.micro=1 updates.answers=4

What follows the two checkpoints are overrides of `gndpo-train`. On a CPU: --device cpu.
"""

import argparse
import gc
import importlib.util
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning import Callback
from PIL import Image

from benchmarks import ours, pairs
from benchmarks.cases import Case
from benchmarks.floor import model_of, rates, work
from benchmarks.machine import machine
from benchmarks.meter import Meter, forget_peak, resident
from gndpo.models.load import load_model, load_processor
from gndpo.quiet import quiet

STEPS = 2
"""The first is a warm-up."""
QUESTION = 40
"""Digits of a question."""
Numbers = dict[str, float]


class Kept(Callback):
    """The metrics of the last step."""

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        self.metrics: Mapping[str, float] = outputs["metrics"]


def linked(given: argparse.Namespace, folder: Path) -> Case:
    """student, teacher and rows.jsonl below one folder; the case that they make."""
    for which in ("student", "teacher"):
        (folder / which).symlink_to(getattr(given, which).resolve(), target_is_directory=True)
    shape = (given.side, given.side)
    pairs.write_prompts(folder, given.prompts * STEPS, QUESTION, shape)
    problem = json.loads((folder / "rows.jsonl").read_text().splitlines()[0])["problem"]
    length = pairs.prompt_tokens(load_processor(folder / "student"), problem, shape)
    sizes = {"answer": given.tokens, "group": given.group, "prompts": given.prompts}
    return Case(prompt=length, threads=torch.get_num_threads(), **sizes)


def of_ours(case: Case, folder: Path, given: argparse.Namespace) -> Numbers:
    device = "cpu" if given.device == "cpu" else "gpu"
    more = [f"trainer={device}", f"model.dtype={given.dtype}", *given.overrides]
    cfg = ours.configuration(case, folder, "full_kl", STEPS, more)
    kept = Kept()
    ours.fit(cfg, ours.make_module(cfg), [kept])
    return {name: kept.metrics[f"time/{name}"] for name in (*ours.PHASES, "step")}


@torch.no_grad()
def of_generate(case: Case, folder: Path, given: argparse.Namespace) -> Numbers:
    """The rollout alone, as transformers writes it: every prompt repeated G times."""
    model: Any = load_model(folder / "student", getattr(torch, given.dtype)).to(given.device)
    processor = load_processor(folder / "student")
    processor.tokenizer.padding_side = "left"
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    rows = [row for row in rows[: case.prompts] for _ in range(case.group)]
    inputs = processor.own(
        text=[processor.chat(row["problem"], 1) for row in rows],
        images=[[Image.open(folder / row["images"][0])] for row in rows],
        padding=True,
        return_tensors="pt",
    ).to(given.device)
    inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    wanted = {"max_new_tokens": case.answer, "min_new_tokens": case.answer}
    sampled = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    start = time.perf_counter()
    model.generate(**inputs, **wanted, **sampled, suppress_tokens=[model.config.image_token_id])
    return {"rollout": time.perf_counter() - start}


def of_trl(case: Case, folder: Path, given: argparse.Namespace) -> Numbers:
    """In its own way: weights in float32, arithmetic in bfloat16 where that is asked for."""
    from transformers import TrainerCallback

    from benchmarks.peer_trl import make_trainer

    meter = Meter(io.StringIO())

    class Last(TrainerCallback):
        def on_step_begin(self, *args: Any, **more: Any) -> None:
            meter.start()

        def on_step_end(self, *args: Any, **more: Any) -> None:
            self.numbers = {"rollout": meter.laps["rollout"], "step": meter.seconds}

    trainer = make_trainer(
        case,
        folder,
        meter,
        STEPS,
        getattr(torch, given.dtype),
        use_cpu=given.device == "cpu",
        bf16=given.dtype == "bfloat16",
        gradient_checkpointing=True,
        per_device_train_batch_size=given.rows,
        gradient_accumulation_steps=case.answers // given.rows,
    )
    last = Last()
    trainer.add_callback(last)
    trainer.train()
    return last.numbers


Side = Callable[[Case, Path, argparse.Namespace], Numbers]


def measured(side: Side, case: Case, folder: Path, given: argparse.Namespace) -> Numbers:
    """What a side says, and the most memory that it took, on a machine that is empty before."""
    gc.collect()
    if given.device == "cpu":
        forget_peak()
        return side(case, folder, given) | {"peak": resident("VmHWM")}
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return side(case, folder, given) | {"peak": torch.cuda.max_memory_allocated()}


def compared(given: argparse.Namespace) -> dict[str, Any]:
    """Every side's numbers, and what they are held against."""
    sides: dict[str, Side] = {"gndpo": of_ours, "generate": of_generate}
    if importlib.util.find_spec("trl"):
        sides["trl"] = of_trl
    with TemporaryDirectory() as name:
        folder = Path(name)
        case = linked(given, folder)
        found = {name: measured(side, case, folder, given) for name, side in sides.items()}
        derived = held(case, folder, given, found["gndpo"])
    for numbers in found.values():
        numbers["tokens_per_s"] = case.tokens / numbers["rollout"]
    names = {which: getattr(given, which).name for which in ("student", "teacher")}
    sizes = {"L": case.prompt, "T": case.answer, "G": case.group, "P": case.prompts}
    return names | sizes | {"machine": machine(), "sides": found, **derived}


def held(case: Case, folder: Path, given: argparse.Namespace, ours: Numbers) -> Numbers:
    """bandwidth_tokens_per_s: of a rollout that reads all weights and the cache once per token
    step at the measured copy bandwidth. utilisation: FLOPs of score and update over what the best
    matrix product would do in their time."""
    dtype = getattr(torch, given.dtype)
    student, teacher = (
        model_of(load_model(folder / which, dtype), tiles=1, side=given.side, features=given.places)
        for which in ("student", "teacher")
    )
    phases = work(case, student, teacher, dtype.itemsize)
    rate = rates(case.threads, given.device, dtype, given.square)
    flops = phases["score"].flops + phases["update"].flops
    return {
        "bandwidth_tokens_per_s": case.tokens / (phases["rollout"].bytes / rate["copy"]),
        "utilisation": flops / (ours["score"] + ours["update"]) / rate["gemm"],
        **rate,
    }


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("student", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--group", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=512, help="of an answer")
    parser.add_argument("--rows", type=int, default=4, help="that TRL trains on at a time")
    parser.add_argument("--side", type=int, default=448, help="pixels of an image's side")
    parser.add_argument("--places", type=int, default=256, help="placeholders of an image")
    parser.add_argument("--square", type=int, default=8192, help="of the best matrix product")
    parser.add_argument("--out", type=Path, help="a folder for gpu.json")
    parser.add_argument("overrides", nargs="*", help="of gndpo-train")
    return parser.parse_intermixed_args(arguments)


def main() -> None:
    given = parsed()
    quiet()
    text = json.dumps(compared(given), indent=2)
    print(text)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "gpu.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
