"""When a result was added, and indexes for what people ask for: a system on a task, and a metric of all results."""

from __future__ import annotations

from rl4lms.plugins.packages import of_extra

op, sa = of_extra("alembic").op, of_extra("sqlalchemy")
revision, down_revision = "2", "1"


def upgrade() -> None:
    """Add them; of results that are there already, nobody knows the time."""
    op.add_column("grue_results", sa.Column("created_at", sa.DateTime(timezone=True)))
    op.create_index("grue_results_of_system", "grue_results", ["task", "system"])
    op.create_index("grue_values_of_metric", "grue_values", ["metric"])
