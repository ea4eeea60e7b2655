"""Rewrites a folded network exactly into the form that engines run fastest.

The page docs/design/rewrite.md explains it.
"""
