"""Scikit-learn estimators of total correlation: latent factors that explain why variables move together."""
