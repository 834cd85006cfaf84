"""From a folder, a list or an archive to clips, and from a clip to samples."""
