"""The replica: entities in, revisions out, and sync with peers."""
