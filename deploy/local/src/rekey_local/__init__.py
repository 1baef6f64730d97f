"""A development environment on one machine: founding, supervisor, story."""
