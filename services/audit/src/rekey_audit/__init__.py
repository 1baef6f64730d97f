"""Remembers, proves, answers questions, raises alarms; has no authority."""
