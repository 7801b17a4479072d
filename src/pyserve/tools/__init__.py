"""What the subcommands of `pyserve` do, as functions: values in, values out, nothing printed."""
