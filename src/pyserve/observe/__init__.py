"""What operators see: logs (metrics and traces come beside them)."""
