"""What a sync of the whole family takes up and leaves behind: its feeds, and what earlier tries did."""
