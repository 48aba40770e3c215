"""Style sheets of charts and pages."""
