"""hoi_captum."""
