"""On-policy distillation of vision-language models: one LightningModule, one Hydra key per
strategy."""

import os

# Read when torch is first imported: threads that spin while they wait stall a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
