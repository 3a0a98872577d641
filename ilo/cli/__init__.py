"""The command line ``ilo``: `main` has the table of commands, each of which is a module here."""
