"""What can be replicated with: a CouchDB-protocol client and an in-memory peer, behind one port."""
