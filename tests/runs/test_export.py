"""gndpo-export on a run of the digits: what is written, where it refuses, and the Hub."""

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from transformers import AutoTokenizer, GenerationConfig

from gndpo import export
from gndpo.models.digits import CHAT_TEMPLATE
from gndpo.models.load import load_processor
from tests.runs.conftest import Run

FILES = {
    "README.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
ADAPTER = "model.adapter={r: 2, lora_alpha: 4}"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def finished(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run for all tests that only read it."""
    folder = tmp_path_factory.getbasetemp() / "export" / "run"
    if not folder.exists():
        settings = ("checkpoint.every=2", "model.system=Think.", "advantage=gndpo")
        done = run(*settings, f"hydra.run.dir={folder}")
        assert done.code == 0, done.err
    return folder


def test_a_plain_folder_with_a_card_and_an_untouched_run(
    finished: Path, command: Any, pair: dict[str, Path], tmp_path: Path
) -> None:
    before, to = contents(finished), tmp_path / "deep" / "out"
    code, err = command(export.main, f"run={finished}", f"to={to}")
    assert code == 0, err
    assert contents(finished) == before
    assert {file.name for file in to.iterdir()} == FILES
    assert [path.name for path in to.parent.iterdir()] == ["out"]
    card = (to / "README.md").read_text()
    for fact in (
        "Run: run, step 3 of 3, seed 0",
        "Strategy: gndpo",
        f"Student at the start: {pair['student']}",
        f"Teacher: {pair['teacher']}",
        "Trained: everything",
        "System prompt: Think.",
        "library_name: transformers",
    ):
        assert f"{fact}\n" in card
    assert str(finished) not in card
    assert "base_model" not in card  # a folder is none, and the Hub would refuse it


def test_the_processor_is_the_familys_own(finished: Path, command: Any, tmp_path: Path) -> None:
    """The digits' checkpoints name a class of ours, which nobody else has."""
    to = tmp_path / "out"
    assert command(export.main, f"run={finished}", f"to={to}")[0] == 0
    for name in ("processor_config.json", "tokenizer_config.json"):
        assert json.loads((to / name).read_text())["processor_class"] == "InternVLProcessor"
    assert not any(b"ImageOnly" in text for text in contents(to).values())
    load_processor(to)


def test_which_checkpoint_and_in_what_numbers(
    finished: Path, command: Any, pair: dict[str, Path], tmp_path: Path
) -> None:
    def out(name: str, *overrides: str) -> dict[str, torch.Tensor]:
        to = tmp_path / name
        code, err = command(export.main, f"run={finished}", f"to={to}", *overrides)
        assert code == 0, err
        return weights(to)

    base, two, last = (out(x, f"checkpoint={x}") for x in ("base", "2", "last"))
    start = weights(pair["student"])
    assert base.keys() == two.keys() == last.keys() == start.keys()
    for name, x in start.items():
        assert torch.equal(base[name], x)
        assert not torch.equal(two[name], x)
        assert not torch.equal(two[name], last[name])
    narrow = out("narrow", "dtype=bfloat16")
    assert all(torch.equal(x, last[name].bfloat16()) for name, x in narrow.items())
    assert json.loads((tmp_path / "narrow" / "config.json").read_text())["dtype"] == "bfloat16"
    assert "step 2 of 3" in (tmp_path / "2" / "README.md").read_text()


def test_the_stronger_of_the_pair_where_it_learned(
    run: Run, command: Any, pair: dict[str, Path], tmp_path: Path
) -> None:
    done, to = run("model.trains=teacher", "teacher=frozen"), tmp_path / "out"
    asked = (f"run={done.folder}", f"to={to}", "checkpoint=base")
    code, err = command(export.main, *asked)
    assert code == 0, err
    start = weights(pair["teacher"])
    assert all(torch.equal(x, start[name]) for name, x in weights(to).items())
    card = (to / "README.md").read_text()
    assert f"Student at the start: {pair['teacher']}\n" in card
    assert "Teacher: the student's own weights\n" in card


def test_the_runs_own_template_and_ends_go_along(run: Run, command: Any, tmp_path: Path) -> None:
    template = f"Well. {CHAT_TEMPLATE}"
    (tmp_path / "other.jinja").write_text(template)
    done = run(f"model.chat_template={tmp_path}/other.jinja", "model.eos=['<|im_end|>', '7']")
    assert done.code == 0, done.err
    to = tmp_path / "out"
    assert command(export.main, f"run={done.folder}", f"to={to}")[0] == 0
    tokenizer = AutoTokenizer.from_pretrained(to)
    assert tokenizer.chat_template == template
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "7"])
    assert GenerationConfig.from_pretrained(to).eos_token_id == ends


SENTENCES = {
    "run=null": "run=null: type gndpo-export run=<run folder> to=<folder>",
    "run=/nowhere": "is not a run folder",
    "to=null": "to=null: type gndpo-export run=<run folder> to=<folder>",
    "checkpoint=7": "use one of these steps",
    "checkpoint=teacher": "the teacher is a checkpoint already; use last, base or a step number",
    "dtype=int8": "dtype=int8 is unknown; choose bfloat16, float32 or null",
    "merge=maybe": "merge=maybe is unknown; choose true or false",
    "private=maybe": "private=maybe is unknown; choose true or false",
    "merge=false": "trained no adapter, so there is nothing to keep apart; leave merge out",
    "push=a/b/c": "push=a/b/c is no name on the Hub; use you/model",
    "tto=x": "tto",
}


def test_a_mistake_is_one_sentence_and_writes_nothing(
    finished: Path, command: Any, tmp_path: Path
) -> None:
    to = tmp_path / "out"
    for override, sentence in SENTENCES.items():
        code, err = command(export.main, f"run={finished}", f"to={to}", override)
        assert code != 0, override
        assert sentence in err
        assert "Traceback" not in err
        assert not to.exists()


def test_an_adapter_with_more_than_itself_is_not_kept_apart(
    run: Run, command: Any, tmp_path: Path
) -> None:
    done = run(ADAPTER, "model.parts=[projector]")
    assert done.code == 0, done.err
    code, err = command(export.main, f"run={done.folder}", f"to={tmp_path}/out", "merge=false")
    assert code != 0
    assert "trained model.parts=['projector'] besides its adapter" in err
    code, err = command(export.main, f"run={done.folder}", f"to={tmp_path}/out")
    assert code == 0, err
    card = (tmp_path / "out" / "README.md").read_text()
    assert "low-rank matrices of the language model, merged into it, projector" in card


def test_an_adapter_kept_apart_in_other_numbers(run: Run, command: Any, tmp_path: Path) -> None:
    done, to = run(ADAPTER), tmp_path / "out"
    asked = (f"run={done.folder}", f"to={to}", "merge=false", "dtype=bfloat16")
    code, err = command(export.main, *asked)
    assert code == 0, err
    stored = load_file(done.folder / "checkpoints" / "step-0000003" / "student.safetensors")
    low_rank = load_file(to / "adapter_model.safetensors")
    short = {key.replace(".default", ""): x.bfloat16() for key, x in stored.items()}
    names = {key.removeprefix("base_model.model."): x for key, x in low_rank.items()}
    assert names.keys() == short.keys()
    assert all(torch.equal(x, short[name]) for name, x in names.items())
    assert "library_name: peft" in (to / "README.md").read_text()


def test_what_is_there_already_stays(finished: Path, command: Any, tmp_path: Path) -> None:
    full, file, empty = tmp_path / "full", tmp_path / "file", tmp_path / "empty"
    full.mkdir()
    empty.mkdir()
    (full / "mine").write_text("mine")
    file.write_text("mine")
    for to in (full, file):
        code, err = command(export.main, f"run={finished}", f"to={to}")
        assert code != 0
        assert f"to={to} holds something already; choose another folder, or remove it" in err
    assert contents(full) == {full / "mine": b"mine"}
    assert file.read_text() == "mine"
    broken = tmp_path / ".empty"  # of an export that was stopped
    broken.mkdir()
    (broken / "model-00001-of-00002.safetensors").write_text("half")
    assert command(export.main, f"run={finished}", f"to={empty}")[0] == 0
    assert {path.name for path in empty.iterdir()} == FILES
    assert not broken.exists()


def test_a_start_from_the_hub_at_a_revision(
    run: Run, command: Any, pair: dict[str, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    """As the Hub's cache holds it: the names go into card and adapter, the files are found."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "hub" / "models--lab--student"
    shutil.copytree(pair["student"], cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "v2").write_text(commit)
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.setattr(constants, name, {"HF_HUB_CACHE": str(cache.parent)}.get(name, True))
    done = run("model.pair.student=lab/student@v2", ADAPTER)
    assert done.code == 0, done.err
    to, apart = tmp_path / "out", tmp_path / "apart"
    for folder, merge in ((to, "true"), (apart, "false")):
        asked = (f"run={done.folder}", f"to={folder}", f"merge={merge}")
        code, err = command(export.main, *asked)
        assert code == 0, err
        card = (folder / "README.md").read_text()
        assert "base_model: lab/student\n" in card
        assert "Student at the start: lab/student@v2\n" in card
        assert (folder / "tokenizer.json").exists()
    assert {file.name for file in to.iterdir()} == FILES
    settings = json.loads((apart / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "lab/student"
    assert settings["revision"] == "v2"


class Hub(BaseHTTPRequestHandler):
    """The few answers of the Hub that an upload of small files needs. server.refuses: an answer
    that is an error."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers["Authorization"], body))
        if self.server.refuses in self.path:
            return self.reply({"error": "no rights to this name"}, 403)
        if self.path == "/api/repos/create":
            return self.reply({"url": f"{constants.ENDPOINT}/lab/model"})
        if self.path.startswith("/api/models/lab/model/preupload"):
            kept = {"uploadMode": "regular", "shouldIgnore": False}
            files = [{"path": file["path"], **kept} for file in json.loads(body)["files"]]
            return self.reply({"files": files})
        if self.path.startswith("/api/models/lab/model/commit"):
            url = f"{constants.ENDPOINT}/lab/model/commit/1"
            return self.reply({"commitUrl": url, "commitOid": "1"})
        return self.reply({})

    def do_GET(self) -> None:
        self.reply({}, 404)

    def reply(self, content: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hub on this machine, and somebody who has signed in."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.seen, server.refuses = [], "nothing"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield server
    server.shutdown()
    server.server_close()


def test_push_uploads_the_folder(finished: Path, command: Any, hub: Any, tmp_path: Path) -> None:
    to = tmp_path / "out"
    code, err = command(export.main, f"run={finished}", f"to={to}", "push=lab/model")
    assert code == 0, err
    sent = {path: body for path, _, body in hub.seen}
    repository = json.loads(sent["/api/repos/create"])
    assert (repository["organization"], repository["name"]) == ("lab", "model")
    assert repository["visibility"] == "private"
    (commit,) = (body for path, body in sent.items() if "/commit/" in path)
    lines = [json.loads(line) for line in commit.splitlines()]
    files = {x["value"]["path"]: x["value"]["content"] for x in lines if x["key"] == "file"}
    assert {name: base64.b64decode(content) for name, content in files.items()} == {
        str(file.relative_to(to)): data for file, data in contents(to).items()
    }
    assert {token for path, token, _ in hub.seen} == {"Bearer hf_secret"}
    assert not any(b"hf_secret" in data for data in contents(tmp_path).values())
    code, err = command(
        export.main, f"run={finished}", f"to={to}2", "push=lab/model", "private=false"
    )
    assert code == 0, err
    created = [json.loads(body) for path, _, body in hub.seen if path == "/api/repos/create"]
    assert [x["visibility"] for x in created] == ["private", "public"]


@pytest.mark.parametrize("refused", ["/api/repos/create", "/commit/"])
def test_a_failed_push_leaves_the_folder(
    finished: Path, command: Any, hub: Any, tmp_path: Path, refused: str
) -> None:
    hub.refuses, to = refused, tmp_path / "out"
    code, err = command(export.main, f"run={finished}", f"to={to}", "push=lab/model")
    assert code != 0
    assert "push=lab/model failed (403 Forbidden" in err
    assert "no rights to this name); the folder is written" in err
    assert f"`hf upload lab/model {to} --private` uploads it once that is mended" in err
    assert "Traceback" not in err
    assert "hf_secret" not in err
    assert {file.name for file in to.iterdir()} == FILES


def test_a_push_without_a_connection(
    finished: Path, command: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    to = tmp_path / "out"
    code, err = command(export.main, f"run={finished}", f"to={to}", "push=lab/model")
    assert code != 0
    assert "push=lab/model failed (" in err
    assert "offline mode" in err
    assert (to / "model.safetensors").exists()


@pytest.mark.parametrize("flag", ["--help", "--cfg=job"])
def test_the_command_explains_itself(command: Any, flag: str) -> None:
    code, err = command(export.main, flag)
    assert code == 0, err
