"""The command line ``rekey``: data on standard output, words for people on standard error, exit codes that stay."""
