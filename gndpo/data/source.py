"""What `datasets` can read, by split: hub, files, image folders, saved folders; and cuts of it."""

import glob
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from datasets import ReadInstruction, load_dataset, load_from_disk
from datasets.exceptions import DatasetsError

from gndpo.errors import UserError

BUILDERS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
}
SPLITS = {
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "validation": "validation",
    "test": "test",
    "eval": "test",
}
"""First word of a file's or its folder's name -> split."""
UNBOUNDED = 1 << 62


class Cut(NamedTuple):
    """Rows start..stop-1 of one split of the source."""

    split: str
    start: int
    stop: int


def is_local(source: str) -> bool:
    return source.startswith(("/", ".", "~")) or "*" in source or Path(source).exists()


def name_of(source: str) -> str:
    """geometry3k of hiyouga/geometry3k@revision, of /data/geometry3k, of /data/geometry3k.jsonl and
    of /data/geometry3k/*.jsonl."""
    if is_local(source):
        path = Path(source).expanduser().absolute()
        return path.parent.name if "*" in path.name else path.stem
    return source.partition("@")[0].rpartition("/")[2]


def folder_of(source: str) -> Path | None:
    """Where relative paths start: the source's own folder; None on the hub."""
    if not is_local(source):
        return None
    path = Path(source).expanduser()
    return path if path.is_dir() else path.parent


def load(source: str | None, config: str | None, streaming: bool) -> Mapping[str, Any]:
    """Every split of the source.

    source: `owner/name` or `owner/name@revision` on the hub, a file, a pattern with `*`, a folder
    of files, of images, or one that `save_to_disk` wrote.
    """
    if source is None:
        raise UserError(
            "data.rows.source is not set; name a hub data set, a file or a folder, for example "
            "data.rows.source=/data/mine"
        )
    if not is_local(source) and "/" not in source:
        raise UserError(
            f"data.rows.source={source} is no file, no folder and no owner/name on the hub; write "
            "one of these"
        )
    path = Path(source).expanduser()
    try:
        if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
            return saved(path, streaming)
        call = local_call(source) if is_local(source) else hub_call(source, config)
        splits: Mapping[str, Any] = load_dataset(**call, streaming=streaming)
        return splits
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise UserError(f"data.rows.source={source} cannot be read: {reason}") from error


def saved(path: Path, streaming: bool) -> Mapping[str, Any]:
    found = load_from_disk(path)
    splits = found if isinstance(found, dict) else {"train": found}
    if streaming:
        return {name: split.to_iterable_dataset() for name, split in splits.items()}
    return splits


def hub_call(source: str, config: str | None) -> dict[str, Any]:
    name, _, revision = source.partition("@")
    return {"path": name, "name": config, "revision": revision or None}


def local_call(source: str) -> dict[str, Any]:
    """What to ask `load_dataset` for, files sorted into splits by their names."""
    path = Path(source).expanduser()
    files = sorted(files_of(path))
    builders = sorted({BUILDERS[file.suffix] for file in files})
    if len(builders) > 1:
        raise UserError(
            f"data.rows.source={source} holds files of several formats ({', '.join(builders)}); "
            f"name one, for example data.rows.source={path}/*{files[0].suffix}"
        )
    if builders:
        root = path if path.is_dir() else files[0].parent
        by_split: dict[str, list[str]] = defaultdict(list)
        for file in files:
            by_split[split_of(file.relative_to(root))].append(str(file))
        return {"path": builders[0], "data_files": dict(by_split)}
    if path.is_dir():
        return {"path": "imagefolder", "data_dir": str(path)}
    raise UserError(
        f"data.rows.source={source} is neither a folder nor a file of "
        f"{', '.join(BUILDERS)}; check the path"
    )


def files_of(path: Path) -> Iterator[Path]:
    """Tables; not an image folder's metadata, nor what is hidden."""
    if not path.is_dir():
        yield from (Path(file) for file in glob.glob(str(path)) if Path(file).suffix in BUILDERS)
        return
    for file in path.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if file.suffix in BUILDERS and file.stem != "metadata" and not hidden:
            yield file


def split_of(file: Path) -> str:
    """validation for val.jsonl and dev/0.parquet, testmini for testmini-00000-of-00001.parquet, as
    hub repositories name their files; train for what says nothing."""
    shard = re.fullmatch(r"(\w+)-\d{5}-of-\d{5}", file.stem)
    if shard is not None:
        return shard[1]
    for name in (file.stem, file.parent.name):
        word = re.split(r"[^a-z]", name.lower())[0]
        if word == "train" or word in SPLITS:
            return SPLITS.get(word, word)
    return "train"


def cut_of(spec: str, sizes: Mapping[str, int] | None, splits: Mapping[str, Any]) -> Cut:
    """The cut that `train`, `train[:200]` or `train[10%:]` names (the syntax of `datasets`, one
    split at a time). sizes: rows per split; None for a stream, which has no known end."""
    if sizes is None and re.search(r"[%-]", spec.partition("[")[2]):
        raise UserError(
            f"data.rows.splits: '{spec}' counts from the end, which a stream does not know; "
            "count rows from the start, for example train[:200] and train[200:]"
        )
    known = sizes or dict.fromkeys(splits, UNBOUNDED)
    try:
        cuts = ReadInstruction.from_spec(spec).to_absolute(known)
    except ValueError as error:
        raise UserError(
            f"data.rows.splits: '{spec}' cannot be cut ({error}); the source has "
            f"{', '.join(splits)}; write for example {next(iter(splits))}[:200]"
        ) from error
    if len(cuts) > 1:
        raise UserError(f"data.rows.splits: '{spec}' names several splits; name one")
    return Cut(cuts[0].splitname, cuts[0].from_, cuts[0].to)
