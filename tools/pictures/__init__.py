"""Pictures of digits and of other things, as images for a network."""
