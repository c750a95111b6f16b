"""Networks as files for other programs, and other programs that compute a network."""
