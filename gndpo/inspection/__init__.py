"""`gndpo-inspect`: answers token by token, and the advantage that each strategy would give them."""
