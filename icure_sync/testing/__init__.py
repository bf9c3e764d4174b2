"""Parts for tests of applications: faults and peers."""
