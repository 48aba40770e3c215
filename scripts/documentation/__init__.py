"""What makes the generated parts of docs/: the reference of operations, and the figures."""
