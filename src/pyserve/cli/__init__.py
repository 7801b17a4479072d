"""The command line: flags as one table, and what they make of a ServerConfig."""
