"""`gndpo-wandb-workspace`: a W&B page that compares normalizations; its panels are named here."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import hydra
from omegaconf import DictConfig

from gndpo.console import console
from gndpo.errors import UserError
from gndpo.folders import config_folder

LOG = "log"
SECTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Learning": {
        "Accuracy on validation, greedy": ("eval/acc_1/validation",),
        "Accuracy as sampled in training": ("reward/accuracy",),
        "KL to the teacher, nats per token": ("teacher/kl", LOG),
        "Accuracy without the image, validation": ("eval/blind/validation",),
    },
    "Stability": {
        "Gradient norm before clipping": ("grad/norm", LOG),
        "Gradient norm, vision tower": ("grad/norm_vision", LOG),
        "Gradient norm, language model": ("grad/norm_language", LOG),
        "Cosine of the batch halves' gradients": ("grad/cosine_halves",),
        "Share of updates clipped": ("grad/clipped",),
        "Updates skipped": ("grad/skipped",),
    },
    "Outliers": {
        "Worst log-ratio, nats": ("teacher/log_ratio_min",),
        "1st percentile of the log-ratio, nats": ("teacher/log_ratio_p01",),
        "Spread of the log-ratio, nats": ("teacher/log_ratio_std", LOG),
        "99th percentile of |advantage|": ("advantage/abs_p99", LOG),
        "Spread of the advantage": ("advantage/std", LOG),
    },
    "Gating": {
        "Share of tokens accepted by the trust gate": ("note/accepted",),
        "Share of tokens clamped": ("note/clamped",),
        "Share of tokens kept": ("note/kept",),
        "Mean gate of visual steering": ("note/gate",),
        "Share of tokens whose surrogate was clipped": ("policy/clip_fraction",),
        "Largest importance ratio": ("policy/ratio_max", LOG),
    },
    "Cost": {
        "Seconds per step": ("time/step", LOG),
        "Answer tokens per second": ("time/tokens_per_s",),
        "Seconds to score": ("time/score",),
        "Seconds to update": ("time/update",),
        "Tokens per answer": ("rollout/length",),
    },
}
"""Section -> title of a panel -> its metric, and whether its axis is logarithmic."""
COLUMNS = (
    "summary:eval/acc_1/test.last",
    "summary:eval/acc_1/validation.max",
    "summary:grad/norm.max",
    "summary:teacher/kl",
    "config:seed",
)
"""Beside a run's name."""
FIGURES = ("figures/log_ratio", "figures/advantage")


@hydra.main(version_base="1.3", config_path=config_folder(), config_name="workspace")
def app(cfg: DictConfig) -> None:
    if cfg.entity is None:
        raise UserError(
            "whose workspace? type gndpo-wandb-workspace entity=<W&B user or team> project=<name>"
        )
    page = workspace(cfg.entity, cfg.project, cfg.name, cfg.groupby)
    if cfg.save:
        save(page)
    else:
        print(f"{cfg.entity}/{cfg.project}: {cfg.name}, a line per {cfg.groupby}\n")
        print("\n".join(outline(page)))
        print("\nNothing was sent; save=true makes it at W&B.")


def workspace(entity: str, project: str, name: str, groupby: str) -> Any:
    """The page: a line per value of a key of the configuration, mean and range over its runs."""
    ws, wr = library()
    grouped = {
        "groupby": wr.Config(groupby),
        "groupby_aggfunc": "mean",
        "groupby_rangefunc": "minmax",
    }
    sections = [
        ws.Section(
            name=heading,
            is_open=True,
            panels=[
                wr.LinePlot(title=title, x="step", y=[metric], log_y=LOG in scale, **grouped)
                for title, (metric, *scale) in panels.items()
            ],
        )
        for heading, panels in SECTIONS.items()
    ]
    tables = [wr.WeavePanelSummaryTable(table_name="samples/answers")]
    pictures = [wr.MediaBrowser(title="Quantiles over training", media_keys=list(FIGURES))]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[*sections, ws.Section(name="Samples and figures", panels=[*tables, *pictures])],
        settings=ws.WorkspaceSettings(x_axis="step", max_runs=100, group_by_prefix="first"),
        runset_settings=ws.RunsetSettings(pinned_columns=list(COLUMNS)),
    )


def library() -> tuple[Any, Any]:
    """wandb-workspaces: workspaces and panels."""
    if find_spec("wandb_workspaces") is None:
        raise UserError(
            "gndpo-wandb-workspace needs a package that is not installed; type "
            "pip install 'gndpo[wandb]'"
        )
    from wandb_workspaces import workspaces
    from wandb_workspaces.reports import v2

    return workspaces, v2


def outline(page: Any) -> Iterator[str]:
    """Its sections and panels, as they would be sent."""
    for section in page._spec["spec"]["section"]["panelBankConfig"]["sections"]:
        yield section["name"]
        for panel in section["panels"]:
            config = panel["config"]
            what = ", ".join(
                config.get("metrics") or config.get("mediaKeys") or ["samples/answers"]
            )
            title = config.get("chartTitle") or "Table"
            yield f"  {title}: {what}{' (log)' if config.get('yLogScale') else ''}"


def save(page: Any) -> None:
    """Make it at W&B, which prints the address."""
    import wandb

    try:
        page.save()
    except wandb.Error as error:
        raise UserError(
            f"W&B refused the workspace ({error}); type `wandb login` once, and check entity and "
            "project"
        ) from error


@console
def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
