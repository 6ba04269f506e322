"""Other people's questions, and other harnesses."""
