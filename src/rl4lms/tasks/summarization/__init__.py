"""The tasks `cnn_daily_mail` and `dialogsum`: a summary."""
