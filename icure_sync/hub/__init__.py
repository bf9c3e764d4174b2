"""The embedded server that speaks the CouchDB protocol over local storage."""
