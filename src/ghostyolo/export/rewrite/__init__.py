"""Exact rewriting of a folded network into the form that engines run fastest: see docs/design/rewrite.md."""
