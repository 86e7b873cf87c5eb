"""Shards that other tools wrote (img2dataset, webdataset, Hugging Face), read in place."""
