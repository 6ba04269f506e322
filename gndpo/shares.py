"""Which of a step's prompts a rank has."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gndpo import ranks
from gndpo.data.rows import Row
from gndpo.errors import UserError
from gndpo.models.processor import Processor
from gndpo.prompts import Prompts, Renderings, make_prompts
from gndpo.settings import Settings
from gndpo.teachers import Teachers


@dataclass(frozen=True)
class Share:
    """Prompts and their places in the step, ascending; -1: a stand-in, which counts for nothing."""

    prompts: Prompts
    place_P: list[int]

    def rows(self, group: int) -> list[int]:
        """Where in the step the G answers to each prompt stand."""
        return [
            -1 if place < 0 else place * group + g for place in self.place_P for g in range(group)
        ]


def shared(
    rows: Sequence[Row],
    settings: Settings,
    teachers: Teachers,
    processor: Processor,
    device: torch.device,
) -> Share:
    """Prompts made of this rank's rows of a step. Where rows may be dropped, one without image
    stands in for them: a rank must not sit out a step that others compute."""
    own: list[Row] = [row.copy() for row in rows]  # told apart even where the data repeat a row
    of_step = settings.prompts if ranks.size() > 1 else len(rows)
    places = ranks.places(of_step, settings.update.minibatches)
    place = {id(row): at for row, at in zip(own, places, strict=True)}
    stands_in: list[Row] = []
    if ranks.size() > 1 and settings.overlong == "drop":
        stands_in = [{**own[0], "images": [], "problem": "?"}]
    prompts = make_prompts(
        [*own, *stands_in],
        processor,
        max_tokens=settings.max_prompt_tokens,
        overlong=settings.overlong,
        device=device,
        context=teachers.context,
        degrade=teachers.degrade,
    )
    kept = [i for i, row in enumerate(prompts.rows) if id(row) in place] or [0]
    if len(kept) < len(prompts):
        assert isinstance(prompts.renderings, Renderings)
        some = prompts.renderings.of(kept)
        prompts = Prompts(some.rows, some.texts, some, dropped=prompts.dropped)
    return Share(prompts, [place.get(id(row), -1) for row in prompts.rows])


def check_shares(prompts: int, minibatches: int) -> None:
    """Every rank has a part of every minibatch."""
    if prompts // minibatches < ranks.size():
        raise UserError(
            f"prompts={prompts} in updates.minibatches={minibatches} are too few for "
            f"{ranks.size()} processes; every update needs at least one prompt per process"
        )
