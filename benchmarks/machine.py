"""Where numbers come from."""

import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "transformers", "lightning", "trl")


def machine() -> dict[str, str]:
    """Processor, versions, commit; a commit with changes beside it ends with a plus sign."""
    return {
        "processor": processor(),
        "python": platform.python_version(),
        **{name: installed(name) for name in PACKAGES},
        "commit": git("rev-parse", "--short", "HEAD") + "+" * bool(git("status", "--porcelain")),
    }


def processor() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def git(*command: str) -> str:
    where = Path(__file__).parent
    return subprocess.run(
        ["git", *command], cwd=where, capture_output=True, text=True
    ).stdout.strip()
