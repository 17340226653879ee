"""A model's robustness for publication: a model card, an in-toto statement, a CycloneDX BOM."""
