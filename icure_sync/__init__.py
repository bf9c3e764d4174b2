"""icure_sync: local-first sync of end-to-end encrypted medical records."""
