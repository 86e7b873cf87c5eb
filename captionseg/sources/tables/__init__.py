"""Tables of images and captions, in every common file format, as rows of a listing."""
