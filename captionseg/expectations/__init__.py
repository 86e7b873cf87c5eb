"""Great Expectations suites, one file a table. Importing this package does not import Great
Expectations.
"""
