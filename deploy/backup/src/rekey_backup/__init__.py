"""Backups, as people see to them: read what lies there, prove each of them, try a restore.

Reading needs the bus and no token; proving and trying need the offline token and no bus. What crosses is one file.
"""
