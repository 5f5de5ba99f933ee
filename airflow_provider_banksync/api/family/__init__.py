"""A family sync: the syncs of many feeds in one task."""
