"""Who may call: tokens, and what callers prove that they have one."""
