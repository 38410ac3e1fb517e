"""The tables of the first schema: results, and one row for each number."""

from __future__ import annotations

from rl4lms.grue.schema import LONG
from rl4lms.plugins.packages import of_extra

op, sa = of_extra("alembic").op, of_extra("sqlalchemy")
revision, down_revision = "1", None


def upgrade() -> None:
    """Create the tables that are not there: MySQL keeps what a migration that was interrupted had done."""
    op.create_table("grue_schema", sa.Column("version", sa.Integer, primary_key=True), if_not_exists=True)
    op.create_table(
        "grue_results",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("task", sa.String(100), nullable=False),
        sa.Column("task_version", sa.Integer, nullable=False),
        sa.Column("edition", sa.String(20), nullable=False),
        sa.Column("system", sa.String(100), nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("decoding", sa.String(20), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("content", LONG, nullable=False),
        sa.UniqueConstraint("task", "task_version", "edition", "system", "seed", "decoding", "fingerprint"),
        if_not_exists=True,
    )
    op.create_table(
        "grue_values",
        sa.Column("result_id", sa.Integer, sa.ForeignKey("grue_results.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("metric", sa.String(200), primary_key=True),
        sa.Column("mean", sa.Float),
        sa.Column("stderr", sa.Float),
        sa.Column("n", sa.Integer, nullable=False),
        if_not_exists=True,
    )
