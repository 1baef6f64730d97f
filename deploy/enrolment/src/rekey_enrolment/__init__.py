"""Enrolment: marks a dependent's transport key trusted and names it in the trust document."""
