"""Decides on emergencies: verified commands of people become stops."""
