"""Files that guests must not share: removed from cached bootstraps, made again in each guest."""
