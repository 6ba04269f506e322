"""Results of other harnesses: benchmarks that run untrusted code or need a judge of their own are
measured elsewhere and imported from a JSON file."""

import json
from pathlib import Path
from typing import Any

from gndpo.errors import UserError
from gndpo.runfolder import RunFolder, read_rows

SCHEMA: dict[str, tuple[type, ...]] = {
    "benchmark": (str,),
    "metric": (str,),
    "value": (int, float),
    "n": (int,),
    "samples": (int,),
    "harness": (str,),
    "version": (str,),
    "step": (int,),
}
"""Every result has exactly these keys. value: a fraction of 1. n: questions. samples: answers per
question. step: the run's step whose checkpoint was measured."""


def import_results(folder: RunFolder, file: Path) -> list[dict[str, Any]]:
    """Append a file's results, one or a list, to evaluations.jsonl; those that are there already
    are left out. Returns what was appended."""
    if not folder.status():
        raise UserError(f"run={folder.path} is not a run folder (no run.json); give one of runs/*")
    known = list(read_rows(folder.path / "evaluations.jsonl"))
    labelled = [{"source": "imported", **result} for result in read_results(file)]
    new = [result for result in labelled if result not in known]
    for result in new:
        folder.append("evaluations.jsonl", result)
    return new


def read_results(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        raise UserError(f"results={file}: there is no such file")
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"results={file} is not JSON ({error})") from error
    results = content if isinstance(content, list) else [content]
    for number, result in enumerate(results):
        check(result, f"results={file}: result {number}")
    return results


def check(result: Any, where: str) -> None:
    if not isinstance(result, dict) or set(result) != set(SCHEMA):
        found = ", ".join(map(str, result)) if isinstance(result, dict) else repr(result)
        raise UserError(f"{where} has {found}; it must have exactly {', '.join(SCHEMA)}")
    for name, kinds in SCHEMA.items():
        if not isinstance(result[name], kinds) or isinstance(result[name], bool):
            expected = {str: "a text", int: "a whole number"}.get(kinds[0], "a number")
            expected = "a number" if float in kinds else expected
            raise UserError(f"{where}: {name}={result[name]!r} must be {expected}")
    if not 0 <= result["value"] <= 1:
        raise UserError(
            f"{where}: value={result['value']} must be a fraction of 1, such as 0.42 for 42%"
        )
    for name, least in {"n": 1, "samples": 1, "step": 0}.items():
        if result[name] < least:
            raise UserError(f"{where}: {name}={result[name]} must be at least {least}")
