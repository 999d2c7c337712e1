"""Audits and repairs of networks."""
