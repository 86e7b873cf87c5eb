"""The page of the data, reports/data.html: what there is of any source, with masks or without.

`page` puts it together, the other modules count. Columns are counted as columns; only what is shown
becomes a Python object.
"""
