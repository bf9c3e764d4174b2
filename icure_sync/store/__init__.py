"""The encrypted database of one replica or hub database."""
