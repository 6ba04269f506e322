"""On-policy distillation of vision-language models: one LightningModule, one Hydra key per
strategy."""
