"""Great Expectations suites, one file per table. Importing this package does not import Great
Expectations.
"""
