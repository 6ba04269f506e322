"""Rows of anything that `datasets` reads: a hub data set, files, an image folder."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gndpo.data.filters import Choice, Filters, summary
from gndpo.data.indexed import Indexed, Places, Records, chosen, fitting
from gndpo.data.reader import Fields, Reader
from gndpo.data.rows import Row
from gndpo.data.source import cut_of, folder_of, load, name_of
from gndpo.data.streamed import Streamed, passes
from gndpo.errors import UserError
from gndpo.rng import generator

log = logging.getLogger(__name__)


class TableRows:
    """Rows of one split; training rows are endless, the others end with an IndexError.

    source, config: see `gndpo.data.source.load`. splits: train, validation, test -> a split of the
    source or a cut of it. keep: column -> the values whose rows are used. distinct: of rows with
    the same problem and images only the first is used, so that none stands on both sides of a cut.
    cut_seed: rows are mixed with it before splits are cut; null: they stay in order. streaming:
    read from the start without a download; rows then come in order. shuffle: mix training rows anew
    in every epoch; of a stream, among `buffer` rows at a time. folder: where relative image paths
    start; null: the source's folder. The rest: `gndpo.data.reader`, `gndpo.data.filters`.
    """

    def __init__(
        self,
        split: str,
        seed: int,
        *,
        source: str | None,
        config: str | None,
        splits: Mapping[str, str],
        keep: Mapping[str, Sequence[Any]],
        distinct: bool,
        cut_seed: int | None,
        streaming: bool,
        shuffle: bool,
        buffer: int,
        folder: str | None,
        fields: Fields,
        replace: Sequence[tuple[str, str]],
        answer_pattern: str | None,
        answer_form: str,
        template: str,
        filters: Filters,
    ) -> None:
        check(split, splits, streaming, cut_seed)
        found = load(source, config, streaming)
        start = folder_of(str(source)) if folder is None else Path(folder).expanduser()
        reader = Reader(fields, start, replace, answer_pattern, answer_form, template)
        choice = partial(Choice, keep, distinct, reader)
        spec, name = splits[split], name_of(str(source))
        self.endless = split == "train"
        self.rows: Streamed | Indexed
        if streaming:
            cut = cut_of(spec, None, found)
            each = passes(found[cut.split], cut, seed, buffer if shuffle and self.endless else None)
            name = f"{name}/{cut.split}"
            self.rows = Streamed(each, choice, name, reader, filters, endless=self.endless)
        else:
            records, places = cut_out(found, spec, name, choice(), cut_seed)
            title = f"{name} {split}" if spec == split else f"{name} {split} ({spec})"
            places = fitting(records, places, reader, filters, title)
            self.rows = Indexed(records, places, reader, seed, endless=self.endless, mix=shuffle)

    def __len__(self) -> int:
        """Rows of the split, or of one epoch of training."""
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]


def check(split: str, splits: Mapping[str, str], streaming: bool, cut_seed: int | None) -> None:
    if split not in splits:
        raise UserError(
            f"data.rows.splits has no '{split}' (it has {', '.join(splits)}); add it, for "
            f"example +data.rows.splits.{split}='train[:200]'"
        )
    if streaming and cut_seed is not None:
        raise UserError(
            f"data.rows.streaming=true: a stream cannot be mixed with cut_seed={cut_seed} "
            "before it is cut; add data.rows.cut_seed=null"
        )


def cut_out(
    found: Mapping[str, Any], spec: str, name: str, choice: Choice, cut_seed: int | None
) -> tuple[Records, Places]:
    """The records of the split that the cut is of, and the places that it leaves."""
    split = cut_of(spec, {name: len(data) for name, data in found.items()}, found).split
    records = Records(found[split], f"{name}/{split}")
    places = chosen(records, choice)
    if choice.faults:
        log.info("%s", summary(records.name, len(records), choice.faults))
    if cut_seed is not None:
        places = places[generator(cut_seed, "rows/cut").permutation(len(places))]
    cut = cut_of(spec, {split: len(places)}, found)
    return records, places[cut.start : cut.stop]
