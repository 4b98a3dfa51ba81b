"""One file a version of the schema; Alembic finds them here."""
