"""Tar archives without `tarfile`: read, written, extracted and replayed at the speed of the disk."""
