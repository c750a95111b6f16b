"""What a network looks at: its attention weights, maps of what made it decide, and how far these can be believed."""
