"""The stories, in the order in which they are told."""
