"""Run by Alembic: the scripts below `versions/` in the transaction that `schema.migrate` is called in."""

from __future__ import annotations

from rl4lms.human_eval.schema import VERSION_TABLE
from rl4lms.plugins.packages import of_extra

context = of_extra("alembic").context
context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
