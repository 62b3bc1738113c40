"""Orlop: one engine for containers and virtual machines, with Docker's API on the outside."""

__version__ = "0.1.0"
