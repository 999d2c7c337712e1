"""Audits of inputs."""
