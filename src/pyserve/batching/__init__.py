"""Execution of requests: the task, and the threads that run it. Knows neither wire formats nor the life cycle."""
