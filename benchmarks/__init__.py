"""One optimizer step of gndpo beside one of TRL's `DistillationTrainer`, and beside what the
machine could do."""
