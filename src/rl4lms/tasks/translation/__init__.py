"""The tasks `multi30k`, `iwslt2017` and `wmt16`: English into German."""
