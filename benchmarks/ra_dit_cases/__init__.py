"""The cases of RA-DIT's benchmark."""
