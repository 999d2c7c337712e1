"""Audits of training pairs."""
