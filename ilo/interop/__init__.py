"""Other libraries of the field, both ways: a module each, which needs that library and nothing else here needs."""
