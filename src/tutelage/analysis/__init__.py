"""What can be learned about a trained network, rather than by it."""
