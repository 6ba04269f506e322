"""The workspace's definition, as it would be sent: no account, no network."""

import json
import subprocess
import sys
from typing import Any

import pytest

from gndpo import workspace
from gndpo.errors import UserError
from gndpo.metric_names import METRICS

HEADINGS = ["Learning", "Stability", "Outliers", "Gating", "Cost", "Samples and figures"]
LOGARITHMIC = {
    *("teacher/kl", "grad/norm", "grad/norm_vision", "grad/norm_language", "policy/ratio_max"),
    *("teacher/log_ratio_std", "advantage/abs_p99", "advantage/std", "time/step"),
}


def spec(groupby: str = "strategy") -> dict[str, Any]:
    page = workspace.workspace("me", "gndpo", "Normalization comparison", groupby)
    sent: dict[str, Any] = json.loads(json.dumps(page._spec))
    return sent


def sections(sent: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    bank = sent["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: [panel["config"] for panel in section["panels"]] for section in bank}


def lines(sent: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panels in sections(sent).values() for panel in panels if "metrics" in panel]


def test_the_page_has_a_section_per_question() -> None:
    sent = spec()
    assert (sent["entity"], sent["project"]) == ("me", "gndpo")
    assert sent["displayName"] == "Normalization comparison"
    assert list(sections(sent)) == HEADINGS


def test_every_panel_is_grouped_over_steps_and_logarithmic_where_sizes_differ() -> None:
    panels = lines(spec())
    assert {panel["groupBy"] for panel in panels} == {"strategy.value"}
    assert {panel["xAxis"] for panel in panels} == {"step"}
    shown = {panel["metrics"][0] for panel in panels if panel["yLogScale"]}
    assert shown == LOGARITHMIC


def test_any_key_of_the_configuration_can_group() -> None:
    assert {panel["groupBy"] for panel in lines(spec("advantage.clamp"))} == {
        "advantage.value.clamp"
    }


def test_every_panel_shows_a_metric_that_runs_have() -> None:
    patterns = {name.partition("<")[0] for name in METRICS} | {"eval/"}
    for panel in lines(spec()):
        (metric,) = panel["metrics"]
        assert metric in METRICS or metric.startswith(tuple(p for p in patterns if p[-1] == "/"))


def test_samples_and_figures_are_those_that_runs_log() -> None:
    *_, (table, media) = sections(spec()).values()
    assert "samples/answers" in json.dumps(table)
    assert media["mediaKeys"] == ["figures/log_ratio", "figures/advantage"]


def test_without_the_package_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workspace, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'gndpo\[wandb\]'"):
        spec()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["entity=me"], 0, "Gradient norm before clipping: grad/norm (log)"),
        ([], 1, "whose workspace?"),
        (["entity=me", "save=true"], 1, "W&B refused the workspace (No API key configured."),
    ],
)
def test_the_command_shows_before_it_sends(
    arguments: list[str], code: int, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # where a login would be kept
    done = subprocess.run(
        [sys.executable, "-m", "gndpo.workspace", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
