"""Checkpoints, templates and data of strangers: what they would run leaves a file behind, and none
is there."""

import base64
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gndpo import checkpoints
from gndpo.data.images import decoded
from gndpo.data.source import load
from gndpo.data.templates import fill
from gndpo.errors import UserError
from gndpo.evaluate import run_config
from gndpo.models.digits import build_model, build_processor
from gndpo.models.load import load_model, load_processor
from gndpo.runfolder import RunFolder

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    processor = build_processor()
    vision = {**SIZES, "intermediate_size": 32}
    text = {**vision, "num_key_value_heads": 2, "head_dim": 8}
    build_model(processor.tokenizer, vision=vision, text=text).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def refused(path: Path, load: Callable[[Path], Any], ran: Path) -> str:
    """The sentence."""
    with pytest.raises(UserError) as error:
        load(path)
    assert not ran.exists()
    text = str(error.value)
    assert text.startswith(f"cannot load the checkpoint {path}: ")
    assert "\n" not in text
    return text


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_the_bomb_goes_off_where_pickles_are_read(ran: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(ran)))
    assert ran.exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("sharded", [False, True])
def test_pickled_weights_are_never_read(
    checkpoint: Path, ran: Path, legacy: bool, sharded: bool
) -> None:
    (checkpoint / "model.safetensors").unlink()
    name = "pytorch_model-00001-of-00001.bin" if sharded else "pytorch_model.bin"
    torch.save({"x": Bomb(ran)}, checkpoint / name, _use_new_zipfile_serialization=not legacy)
    if sharded:
        index = {"metadata": {}, "weight_map": {"x": name}}
        (checkpoint / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert "safetensors" in refused(checkpoint, load_model, ran)


def test_an_adapter_beside_the_weights_is_not_unpickled(checkpoint: Path, ran: Path) -> None:
    adapter = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}
    (checkpoint / "adapter_config.json").write_text(
        json.dumps({**adapter, "base_model_name_or_path": str(checkpoint)})
    )
    torch.save({"x": Bomb(ran)}, checkpoint / "adapter_model.bin")
    refused(checkpoint, load_model, ran)


CODE = "from pathlib import Path\nPath({!r}).touch()\n"
OWN = ("AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoModelForCausalLM")
READING = ("AutoTokenizer", "AutoProcessor", "AutoImageProcessor")


@pytest.mark.parametrize("known", [True, False])
def test_code_beside_the_weights_is_not_run(checkpoint: Path, ran: Path, known: bool) -> None:
    """A type that transformers knows is read by its own classes; any other is refused."""
    (checkpoint / "own.py").write_text(CODE.format(str(ran)))
    (checkpoint / "custom_generate").mkdir()
    (checkpoint / "custom_generate" / "generate.py").write_text(CODE.format(str(ran)))
    places = dict.fromkeys(OWN + READING, "own.Own")
    kind = {} if known else {"model_type": "own"}
    edit(checkpoint / "config.json", auto_map=places, **kind)
    edit(checkpoint / "tokenizer_config.json", auto_map=places | {"AutoTokenizer": ["own.Own"] * 2})
    edit(checkpoint / "processor_config.json", auto_map=places)
    if known:
        assert load_model(checkpoint).num_parameters() > 0
        assert load_processor(checkpoint).tokenizer is not None
        assert not ran.exists()
    else:
        for read in (load_model, load_processor):
            assert "model.remote_code=true" in refused(checkpoint, read, ran)


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__init__.__globals__ }}",
        "{{ raise_exception.__globals__['__builtins__']['open'](ran, 'w') }}",
        "{{ cycler.__init__.__globals__.os.system('touch ' ~ ran) }}",
        "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}",
        "{{ messages.append(1) }}",
        "{% include ran %}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
    ],
)
def test_a_chat_template_reaches_nothing(checkpoint: Path, ran: Path, escape: str) -> None:
    template = f"{{% set ran = '{ran}' %}}{build_processor().chat_template}{escape}"
    (checkpoint / "chat_template.jinja").write_text(template)
    with pytest.raises(UserError) as error:
        load_processor(checkpoint).chat("a question", 1)
    assert not ran.exists()
    assert "\n" not in str(error.value)
    assert "template" in str(error.value)


@pytest.mark.parametrize("template", ["{problem.__class__}", "{problem.__init__.__globals__}"])
def test_a_prompt_template_reads_columns_alone(template: str) -> None:
    with pytest.raises(UserError, match="names the column"):
        fill(template, {"problem": "1+1"})


@pytest.mark.parametrize("name", ["train.pkl", "train.pickle", "train.npy", "train.py", "train.pt"])
@pytest.mark.parametrize("whole", [True, False])
def test_data_are_not_unpickled_nor_run(
    tmp_path: Path, ran: Path, name: str, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the file's name nor by its folder's, nor by that of a reader of `datasets`, which
    would read the folder one stands in."""
    folder = tmp_path / "data"
    folder.mkdir()
    if name.endswith(".npy"):
        np.save(folder / name, np.array([Bomb(ran)]), allow_pickle=True)
    elif name.endswith(".py"):
        (folder / name).write_text(CODE.format(str(ran)))
        (folder / "data.py").write_text(CODE.format(str(ran)))
    else:
        (folder / name).write_bytes(pickle.dumps(Bomb(ran)))
    monkeypatch.chdir(folder)
    for source in (str(folder if whole else folder / name), "pandas"):
        with pytest.raises(UserError) as error:
            load(source, None, streaming=False)
        assert not ran.exists()
        assert "\n" not in str(error.value)


def test_an_image_is_not_unpickled(ran: Path) -> None:
    bomb = pickle.dumps(Bomb(ran))
    for value in (bomb, {"bytes": bomb, "path": None}, base64.b64encode(bomb).decode()):
        with pytest.raises(UserError, match="an image cannot be read"):
            decoded(value, None, "row 1")
    assert not ran.exists()


def test_our_checkpoints_are_not_unpickled(tmp_path: Path, ran: Path) -> None:
    torch.save({"x": Bomb(ran)}, tmp_path / "student.safetensors")
    with pytest.raises(UserError, match="cannot be read"):
        checkpoints.read(tmp_path / "student.safetensors")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("model: {parts: null, remote_code: true}", "set GNDPO_REMOTE_CODE=1"),
        ("model: {parts: null, system: '${oc.env:HOME}'}", "names variables"),
    ],
)
def test_a_strangers_run_asks_for_nothing_by_itself(
    tmp_path: Path, section: str, sentence: str
) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "run.json").write_text('{"status": "completed"}')
    (tmp_path / ".hydra" / "config.yaml").write_text(
        f"{section}\nteacher: {{}}\nupdates: {{answers: null}}\neval: {{batch: 1}}\n"
        "rollout: {speed: {}}\n"
    )
    with pytest.raises(UserError, match=sentence):
        run_config(RunFolder(tmp_path))
