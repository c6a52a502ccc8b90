"""From a study's runs to a submission: members, weights, the export and its analysis."""
