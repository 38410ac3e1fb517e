"""The task `webnlg`: some facts as text."""
