"""The decisions of a replication, as plain functions on values. See PROTOCOL.md."""
