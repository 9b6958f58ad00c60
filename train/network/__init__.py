"""The model: backbone and head, its files on disk, and where its first weights come from."""
