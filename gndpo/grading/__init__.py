"""Right answers: what a text says, and whether that is the truth."""
