"""`birdcache ladder`: every recipe and every technique, measured with several seeds."""
