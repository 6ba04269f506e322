"""What a configuration may build: functions and classes on the list, in whatever place it names
them, and nothing that is only reached through them."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from gndpo.build import build, find
from gndpo.errors import UserError

CONF = Path(__file__).parents[2] / "conf"

REFUSED = (
    "os.system",
    "builtins.eval",
    "subprocess.run",
    "torch.load",
    "hydra.utils.get_object",
    "gndpo.build.build",
    "gndpo.build.os.system",
    "gndpo.runfolder.subprocess.run",
    "gndpo.export.push",
    "gndpo.report.cli.main",
    "gndpo.models.load.load_model",
    "gndpo.grading.worker.pickle.load",
    "gndpo.data.images.io.open",
    "gndpo.grading.graders.re.compile",
    "gndpo.rewards.composite.__globals__",
    "gndpo.data.table.TableRows.__init__",
    "gndpo.data.table.TableRows.__class__",
    "torch.optim.adam.torch.load",
    "torch.optim.Optimizer.load_state_dict",
    "lightning.pytorch.LightningModule.load_from_checkpoint",
    "lightning.pytorch.core.saving.load_hparams_from_yaml",
    "lightning.pytorch.callbacks.Callback.__init__",
    "lightning.pytorch.trainer.trainer.os.system",
    "lightning.pytorch.loggers.csv_logs.os.system",
)


@pytest.mark.parametrize("target", REFUSED)
def test_what_is_not_listed_is_refused(target: str) -> None:
    with pytest.raises(UserError) as error:
        find(target, "x")
    assert str(error.value).startswith(f"x._target_={target}: only functions and classes of")
    assert "\n" not in str(error.value)


CALL = "{_target_: pathlib.Path.touch, self: PLACE}"
PLACES = (
    "{_target_: gndpo.writers.student, _partial_: true, x: CALL}",
    "{_target_: gndpo.writers.student, _partial_: true, x: {y: [1, {z: CALL}]}}",
    "{_target_: gndpo.writers.student, _args_: [CALL]}",
    "{_target_: gndpo.writers.student, _args_: [[CALL]], _partial_: true}",
    "{_target_: gndpo.writers.student, _recursive_: CALL}",
    "{_target_: gndpo.writers.student, _x: CALL}",
    "{_target_: gndpo.writers.student, _partial_: '${y}', x: '${oc.create:CALL}'}",
    "{_target_: '${oc.select:y,os.system}'}",
    "{_target_: gndpo.writers.student, _target_.x: CALL}",
    "{_target_: [os.system]}",
    "{_target_: {_target_: os.getcwd}}",
    "{_target_: null}",
)


@pytest.mark.parametrize("section", PLACES)
def test_in_no_place_of_a_section(section: str, tmp_path: Path) -> None:
    text = section.replace("CALL", CALL).replace("PLACE", str(tmp_path / "ran"))
    cfg = OmegaConf.create({"y": "os.system", "section": OmegaConf.create(text)})
    with pytest.raises(UserError):
        build(cfg.section, "section")
    assert not (tmp_path / "ran").exists()


def test_every_target_of_our_own_configuration_is_allowed() -> None:
    found = {
        target
        for file in sorted(CONF.rglob("*.yaml"))
        if not {"output", "hydra"} & {*file.parts}  # what Hydra itself builds
        for target in targets(OmegaConf.to_container(OmegaConf.load(file)))
    }
    assert len(found) > 40
    assert all(callable(find(target, "x")) for target in found)


def targets(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["_target_"]] if "_target_" in value else []
        return own + [name for key in value if key != "hydra" for name in targets(value[key])]
    return [name for x in value for name in targets(x)] if isinstance(value, list) else []


def test_a_strategy_outside_the_repository_runs(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "elsewhere" / "mylab"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from mylab.strategies import half")
    (package / "strategies.py").write_text(
        "from gndpo.signal import Signal\nfrom gndpo.stats import log_ratio\n"
        "def half(scores, *, share):\n    return Signal(share * log_ratio(scores))\n"
    )
    group = tmp_path / "conf" / "advantage"
    group.mkdir(parents=True)
    (group / "half.yaml").write_text("_target_: mylab.half\n_partial_: true\nshare: 0.5\n")
    monkeypatch.syspath_prepend(package.parent)
    chosen = (f"hydra.searchpath=[file://{group.parent}]", "advantage=half")
    refused = run(*chosen, name="refused")
    assert refused.code == 1
    assert "set GNDPO_MODULES=mylab. to allow yours" in refused.err
    monkeypatch.setenv("GNDPO_MODULES", "mylab.")
    done = run(*chosen, name="allowed")
    assert done.code == 0, done.err
    assert done.status["strategy"] == "half"
    assert len(done.rows()) == 3


def test_what_is_allowed_brings_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mylab_open.py").write_text("from os import system\ndef mine(): return 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("GNDPO_MODULES", "mylab_open.")
    assert build(OmegaConf.create({"_target_": "mylab_open.mine"}), "x") == 3
    with pytest.raises(UserError, match=r"and this is posix\.system"):
        find("mylab_open.system", "x")
