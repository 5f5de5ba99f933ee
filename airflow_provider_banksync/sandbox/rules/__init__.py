"""What the sandbox's API allows and does."""
