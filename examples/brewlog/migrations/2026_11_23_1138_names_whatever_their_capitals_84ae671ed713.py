"""names whatever their capitals"""

import sqlalchemy as sa
from alembic import op

revision = "84ae671ed713"
down_revision = "aceea6f81e7f"

user = sa.table("user", sa.column("id", sa.Integer), sa.column("name", sa.String), sa.column("folded", sa.String))


def upgrade() -> None:
    with op.batch_alter_table("user") as batch_op:
        batch_op.add_column(sa.Column("folded", sa.String(length=60)))
    # In Python, since databases have no case folding; a club has few brewers.
    connection = op.get_bind()
    for number, name in connection.execute(sa.select(user.c.id, user.c.name)).all():
        connection.execute(user.update().where(user.c.id == number).values(folded=name.casefold()))
    with op.batch_alter_table("user") as batch_op:
        batch_op.alter_column("folded", existing_type=sa.String(length=60), nullable=False)
        batch_op.drop_constraint(op.f("uq_user_name"), type_="unique")
        batch_op.create_unique_constraint(op.f("uq_user_folded"), ["folded"])


def downgrade() -> None:
    with op.batch_alter_table("user") as batch_op:
        batch_op.drop_constraint(op.f("uq_user_folded"), type_="unique")
        batch_op.create_unique_constraint(op.f("uq_user_name"), ["name"])
        batch_op.drop_column("folded")
