"""Keys, envelopes, identities and sealing: the published scheme and its two suites. See FORMAT.md."""
