"""Every metric, declared once, by those who record it."""
