"""The papers' tables, filled from run folders."""
