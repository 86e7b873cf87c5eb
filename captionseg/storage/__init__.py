"""Files: written under another name and renamed into place, read folder by folder."""
