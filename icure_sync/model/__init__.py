"""The entities of a clinic, the policy of each field, and their JSON form."""
