"""Makes key versions and destroys them, nothing else."""
