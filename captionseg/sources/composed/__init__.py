"""The photographic cut-outs and textures that the source photo_scenes composes."""
