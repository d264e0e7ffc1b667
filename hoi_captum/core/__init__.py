"""The vocabulary of interactions: players, coalitions, games, transforms, results.

Pure torch; knows no modality and no method.
"""
