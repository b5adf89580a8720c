"""Tests against Microsoft's own files exist where the files do."""

from tests.golden.published import published_directories

collect_ignore = [] if published_directories() else ["test_published_processor.py"]
