"""What the site has besides the pages of docs/: references made from the code, documents that
stand elsewhere in the repository, figures that follow the reader's colours."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import references
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from gndpo.metric_names import METRICS

ROOT = Path(__file__).parents[2]
FIRST = ("CONTRIBUTING.md", "CHANGELOG.md", "experiments/LOG.md", "benchmarks/README.md")
"""Documents outside docs/ that the navigation names."""
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)")
DRAWING = re.compile(r'<p><img [^>]*src="(assets/[^"]+\.svg)"[^>]*></p>')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The generated pages of the configuration stand below its title in the navigation."""
    for section in config.nav or []:
        if "Configuration" in section:
            section["Configuration"] = [*configuration()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Generated pages and the repository's other documents, as if they stood in docs/."""
    for address, content in {**configuration(), "metrics.md": references.metrics(METRICS)}.items():
        files.append(File.generated(config, address, content=content))
    for path in sorted(documents()):
        files.append(File.generated(config, address_of(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that leave docs/, or lead into it, as links of the site."""
    source = path_of(page.file)
    here = os.path.dirname(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        target = address_of(resolved(source, link[0]))
        return os.path.relpath(target, here or ".") if files.get_file_from_path(target) else link[0]

    return LINK.sub(moved, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Drawings as part of the page, so that they take its colours."""
    return DRAWING.sub(lambda found: (ROOT / "docs" / found[1]).read_text("utf-8"), html)


def configuration() -> dict[str, str]:
    methods = (ROOT / "docs" / "methods.md").read_text("utf-8")
    return references.configuration(ROOT / "conf", methods)


def documents() -> set[str]:
    """Files outside docs/ that its pages, or each other, link to, as paths in the repository."""
    found: set[str] = set()
    waiting = [*FIRST, *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        if path.endswith(".md"):
            waiting += linked(path)
    return {path for path in found if not path.startswith("docs/") and path != "README.md"}


def linked(path: str) -> Iterator[str]:
    """The files that a document links to."""
    for target in LINK.findall((ROOT / path).read_text("utf-8")):
        if (ROOT / resolved(path, target)).is_file():
            yield resolved(path, target)


def resolved(path: str, target: str) -> str:
    """Where a link in a document of the repository leads to."""
    return os.path.normpath(os.path.join(os.path.dirname(path), target))


def path_of(file: File) -> str:
    """A page's path in the repository."""
    outside = file.generated_by and file.abs_src_path
    return os.path.relpath(file.abs_src_path, ROOT) if outside else f"docs/{file.src_uri}"


def address_of(path: str) -> str:
    """Where a file of the repository stands in the site."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")
