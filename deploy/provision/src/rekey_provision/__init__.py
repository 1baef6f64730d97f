"""The bus provisioner: accounts, streams and consumers from the authority table."""
