"""Words of captions: nouns, noun phrases, vocabularies, prompt templates."""
