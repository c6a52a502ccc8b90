"""From finished runs to one predictor: weights, the submission's zip, and the online runtime it carries."""
