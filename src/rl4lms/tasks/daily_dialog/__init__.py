"""The task `daily_dialog`: the next turn of a conversation."""
