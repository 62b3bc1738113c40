"""What several tests share: an engine of their own, base images, a registry, a count of what is left on the host."""
