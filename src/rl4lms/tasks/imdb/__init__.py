"""The task `imdb`: sentiment of movie reviews."""
