"""Feature extractors: pictures in [0, 1] to maps at 1/8, 1/16 and 1/32."""
